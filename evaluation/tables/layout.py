"""What every table shares: how a key and a value read, a terminal and a Markdown table, files written whole."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.kits import badness
from kits_submit.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

UNDEFINED = "-"

_READABLE = (
    ("kidney_and_mass", "kidney+mass"),
    ("_dice", " Dice"),
    ("_hd95_mm", " HD95 mm"),
    ("_assd_mm", " ASSD mm"),
    ("_hd100_mm", " HD100 mm"),
    ("_hd95_monai_mm", " HD95 MONAI mm"),
    ("_hd95_medpy_mm", " HD95 medpy mm"),
    ("_assd_medpy_mm", " ASSD medpy mm"),
    ("_sd_at_", " SD at "),
    ("_sd", " SD"),
    ("_iou", " IoU"),
    ("_f1", " F1"),
    ("_sq", " SQ"),
    ("_pq", " PQ"),
    ("_centre_distance_mm", " centre mm"),
    ("_volume_error_ml", " volume mL"),
    ("_volume_error_percent", " volume %"),
    ("_", " "),
)


def label(key: str, *, absolute: bool = False) -> str:
    """A key as a table has it: `kidney+mass HD95 mm` for `kidney_and_mass_hd95_mm`; `absolute`: of errors' sizes."""
    for end, readable in _READABLE:
        key = key.replace(end, readable)
    return key.replace("volume", "|volume|") if absolute else key


def shown(key: str, value: float | None) -> str:
    """A value in the fewest digits that tell: four for shares, two for mm, a sign and one for volume errors."""
    value = finite(value)
    if value is None:
        return UNDEFINED
    if "volume_error" in key:
        return f"{value:+.1f}"
    if badness(key) == 0:
        return f"{value:g}" if value == round(value) else f"{value:.2f}"
    return f"{value:.2f}" if key.endswith("_mm") else f"{value:.4f}"


def signed(key: str, value: float) -> str:
    """A difference, with its sign."""
    text = shown(key, value)
    return f"+{text}" if value > 0 and not text.startswith("+") and text != UNDEFINED else text


def finite(value: float | None) -> float | None:
    """None for NaN, infinite and absent values, which JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None


def interval(key: str, bounds: tuple[float, float] | None) -> str:
    """`0.8123 .. 0.9012`, as `shown`."""
    return UNDEFINED if bounds is None else " .. ".join(shown(key, bound) for bound in bounds)


def chosen(keys: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The keys that a pattern (`tumor_*`) names, in the patterns' order; all where there is no pattern.

    Raises:
        InputError: a pattern that names none.
    """
    if not patterns:
        return tuple(keys)
    found: dict[str, None] = {}
    for pattern in patterns:
        named = fnmatch.filter(keys, pattern)
        if not named:
            raise InputError(f"no measure is called {pattern!r}", fix=f"use a name or a pattern of {', '.join(keys)}")
        found |= dict.fromkeys(named)
    return tuple(found)


def counted(n: int, what: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def section(title: str, table: RenderableType, *captions: str) -> Table:
    """A table between its title and its captions, which may be wider than it."""
    from rich.table import Table
    from rich.text import Text

    whole = Table.grid()
    whole.add_row(Text(title, "bold", overflow="fold"))
    whole.add_row(table)
    for caption in captions:
        if caption:
            whole.add_row(Text(caption, "dim", overflow="fold"))
    return whole


def stacked(sections: Sequence[Table]) -> Table:
    """Sections below each other, an empty line between them."""
    from rich.table import Table

    whole = Table.grid()
    for number, part in enumerate(sections):
        if number:
            whole.add_row("")
        whole.add_row(part)
    return whole


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A pipe table, its columns padded so that it reads well unrendered; the first left, the others right."""
    rows = [[cell.replace("|", "\\|") for cell in line] for line in (header, *lines)]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(header))]
    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    text = ""
    for row in (rows[0], rule, *rows[1:]):
        ways = ("<", *">" * (len(row) - 1))
        cells = [f"{cell:{way}{width}}" for cell, way, width in zip(row, ways, widths, strict=True)]
        text += f"| {' | '.join(cells)} |\n"
    return text


def write_document(document: Mapping[str, Any], path: Path) -> None:
    """Write JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write beside and rename, so that no half file is ever seen.

    Raises:
        OutputError: the file cannot be written.
    """
    from kits_submit.atomic import replacing

    with replacing(path) as out:
        out.write(text.encode())
