"""What is known of each case beside its masks: a column of a CSV, or of KiTS's own kits.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kits_submit.errors import InputError
from kits_submit.files.names import case_id

_CASE_COLUMNS = ("case", "case_id", "caseid", "patient", "patient_id", "id")
# kits.json's names for what people ask by.
_ALSO_CALLED = {
    "malignancy": "malignant",
    "stage": "pathology_t_stage",
    "histology": "tumor_histologic_subtype",
    "size": "radiographic_size",
}

_EDGES = {"radiographic_size": (4.0, 7.0), "pathologic_size": (4.0, 7.0)}  # cm: T1a, T1b, T2


def read_column(asked: str) -> tuple[dict[str, str], str, tuple[float, ...]]:
    """`FILE:COLUMN` or `FILE:COLUMN@EDGE,EDGE`: each case's value as text, the column, and the edges.

    A CSV has the case in a column `case`, `case_id` or its first; kits.json is a list of objects, whose inner objects'
    members are called `comorbidities.hypertension`.

    Raises:
        InputError: not of this form, a file that cannot be read, no such column, or a case twice.
    """
    name, colon, column = asked.rpartition(":")
    column, _, cuts = column.partition("@")
    if not (colon and name and column):
        raise InputError(f"--by {asked}", fix="say FILE:COLUMN, or FILE:COLUMN@4,7 to cut numbers at 4 and 7")
    try:
        edges = tuple(float(cut) for cut in cuts.split(",") if cut)
    except ValueError:
        raise InputError(f"--by {asked}: {cuts} are no numbers", fix="say FILE:COLUMN@4,7") from None
    path = Path(name)
    records = _records(path)
    columns = list(dict.fromkeys(key for record in records for key in record))
    column = column if column in columns else _ALSO_CALLED.get(column, column)
    if column not in columns:
        raise InputError(f"no column {column!r}", fix=f"use one of {', '.join(columns)}", path=path)
    edges = edges or _EDGES.get(column, ())
    cases = next((key for key in columns if key.lower() in _CASE_COLUMNS), columns[0])
    values: dict[str, str] = {}
    for record in records:
        case = _case(record.get(cases, ""))
        if case in values:
            raise InputError(f"{case} is there twice", fix="keep one line a case", path=path)
        values[case] = record.get(column, "")
    return values, column, edges


def _case(name: str) -> str:
    return case_id(name.strip())


def _records(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", fix="give a CSV or kits.json", path=path) from None
    if found is not None:
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise InputError("no list of cases", fix="give a CSV or kits.json", path=path)
        records = [dict(_flat(entry)) for entry in found]
    else:
        records = _rows(text)
    if not records:
        raise InputError("no case in it", fix="give a CSV with a header and a line a case", path=path)
    return records


def _rows(text: str) -> list[dict[str, str]]:
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    return [{key.strip(): (value or "").strip() for key, value in row.items() if isinstance(key, str)} for row in rows]


def _flat(entry: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", _told(value)


def _told(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
