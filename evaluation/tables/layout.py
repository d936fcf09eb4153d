"""What every table shares: how a key and a value read, a terminal and a Markdown table, files written whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.kits import badness

if TYPE_CHECKING:
    from rich.table import Table

UNDEFINED = "-"

_READABLE = (
    ("kidney_and_mass", "kidney+mass"),
    ("_dice", " Dice"),
    ("_sd", " SD"),
    ("_hd95_mm", " HD95 mm"),
    ("_assd_mm", " ASSD mm"),
    ("_centre_distance_mm", " centre mm"),
    ("_volume_error_ml", " volume mL"),
    ("_volume_error_percent", " volume %"),
    ("_", " "),
)


def label(key: str) -> str:
    """A key as a table has it: `kidney+mass HD95 mm` for `kidney_and_mass_hd95_mm`."""
    for end, readable in _READABLE:
        key = key.replace(end, readable)
    return key


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


def plain_table(header: Sequence[str], lines: Iterable[Sequence[str]] = ()) -> Table:
    """A terminal table: the first column left, the others right, a rule below the header and none else."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, collapse_padding=True)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", vertical="bottom", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def section(title: str, table: Table, *captions: str) -> Table:
    """A table between its title and its captions, which may be wider than it."""
    from rich.table import Table
    from rich.text import Text

    whole = Table.grid()
    whole.add_row(Text(title, "bold"))
    whole.add_row(table)
    for caption in captions:
        if caption:
            whole.add_row(Text(caption, "dim"))
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
