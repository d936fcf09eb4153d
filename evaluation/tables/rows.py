"""Rows as a file keeps them, to the bit, for a report that is put together from several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.case import Settings
from evaluation.cohort import report_of
from evaluation.report import Issue, Lesion, Report, Row
from evaluation.tables.layout import write_text
from kits_submit.errors import InputError


def write_report_rows(report: Report, path: Path) -> None:
    """Write what `merged_report` reads; NaN and infinite values as Python's json spells them.

    Raises:
        OutputError: the file cannot be written.
    """
    issues = [asdict(issue) for issue in report.issues]
    document = {"protocol": report.protocol, "rows": [asdict(row) for row in report.rows], "issues": issues}
    write_text(path, json.dumps(document) + "\n")


def merged_report(files: Sequence[Path]) -> Report:
    """The report that scoring all of the files' cases at once would have given, by `cohort.score_pairs`'s defaults.

    Raises:
        InputError: a file that cannot be read, or two that are scored by different protocols.
    """
    documents = [_document(path) for path in files]
    protocols = {str(document["protocol"]) for document in documents}
    if len(protocols) > 1:
        what = f"its parts are scored by different protocols ({', '.join(sorted(protocols))})"
        raise InputError(what, fix="run all parts alike", path=files[0].parent)
    rows = [_row(row) for document in documents for row in document["rows"]]
    issues = [Issue(**issue) for document in documents for issue in document["issues"]]
    return report_of(Settings(protocols.pop()), sorted(rows, key=lambda row: row.case), issues)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        return {name: document[name] for name in ("protocol", "rows", "issues")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"cannot be read as a part's scores ({type(error).__name__})"
        raise InputError(what, fix="run that part again", path=path) from None


def _row(stored: Mapping[str, Any]) -> Row:
    made = dict(stored)
    made["error"] = None if made["error"] is None else Issue(**made["error"])
    made["volumes_ml"] = {target: (true, ours) for target, (true, ours) in made["volumes_ml"].items()}
    made["confusion_ml"] = tuple(tuple(line) for line in made["confusion_ml"])
    made["lesions"] = tuple(Lesion(**{**lesion, "centre": tuple(lesion["centre"])}) for lesion in made["lesions"])
    return Row(**made)
