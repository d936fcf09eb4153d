"""A report as a terminal table, CSV, JSON and Markdown. Computes nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.kits import SIZES
from evaluation.report import Report, Row, Summary
from evaluation.tables.layout import (
    UNDEFINED,
    finite,
    label,
    markdown_table,
    plain_table,
    section,
    shown,
    stacked,
    write_document,
    write_text,
)

if TYPE_CHECKING:
    from rich.table import Table

MOST_COLUMNS = 9
MOST_ROWS = 60
WORST_MARK = "<"

# What fits beside each other when a protocol has more keys than columns; the summary below has them all.
_MAIN_KEYS = tuple(
    f"{target}_{measure}" for target in ("kidney_and_mass", "mass", "tumor") for measure in ("dice", "sd", "hd95_mm")
)
_SUMMARY_HEADER = ("measure", "mean", "95 % interval", "median", "std", "n", "worst case")
_LESION_HEADER = ("lesions", "true", "found", "sensitivity", "predicted", "right", "precision", "F1")
_SIZE_NAMES = ("", *(f"_{name}" for name, _ in SIZES))
_SIZE_LABELS = ("all", "<= 4 cm (T1a)", "4 to 7 cm (T1b)", "> 7 cm (T2)")


def render(report: Report) -> Table:
    """The cases, the worst values of each column marked, and below them a line for each key."""
    sections = [_cases_section(report)]
    if report.scored:
        summary = plain_table(_SUMMARY_HEADER, _summary_lines(report))
        notes = (*report.policy.split("; "), *report.empties, "intervals: bootstrap over cases")
        sections.append(section("Over the cases", summary, *notes))
        if "lesion_truth" in report.keys:
            sections.append(section("Over all lesions", plain_table(_LESION_HEADER, _lesion_lines(report))))
    return stacked(sections)


def as_document(report: Report) -> dict[str, Any]:
    """The report as JSON has it: NaN is null, a failed case has its `error`."""
    cases = []
    for row in report.rows:
        scores = {key: finite(row.scores.get(key)) for key in report.keys}
        notes: dict[str, Any] = {"missing": True} if row.missing else {}
        if row.error is not None:
            notes = {"error": row.error.message, "kind": row.error.kind, "exit_code": row.error.exit_code}
        cases.append({"case": row.case, **scores, **notes})
    return {
        "protocol": report.protocol,
        "policy": report.policy,
        "settings": dict(report.settings),
        "cases": cases,
        "aggregate": {key: _summary_document(summary) for key, summary in report.aggregate.items()},
        "issues": [asdict(issue) for issue in report.issues],
        "exit_code": report.exit_code,
    }


def write_json(report: Report, path: Path) -> None:
    """Write `as_document`, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_document(as_document(report), path)


def write_csv(report: Report, path: Path) -> None:
    """Write one row a case: `case`, the protocol's keys, `error`; undefined values are empty.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *report.keys, "error"])
    for row in report.rows:
        values = [finite(row.scores.get(key)) for key in report.keys]
        cells = ["" if value is None else repr(value) for value in values]
        writer.writerow([row.case, *cells, row.error.message if row.error else ""])
    write_text(path, text.getvalue())


def write_markdown(report: Report, path: Path) -> None:
    """Write `as_markdown`, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, as_markdown(report))


def as_markdown(report: Report) -> str:
    """The summary and the cases as pipe tables, worst values bold, and the issues."""
    parts = [f"**{_title(report)}** ({report.policy})"]
    if report.scored:
        parts.append(markdown_table(_SUMMARY_HEADER, _summary_lines(report)))
        if "lesion_truth" in report.keys:
            parts.append(markdown_table(_LESION_HEADER, _lesion_lines(report)))
    keys = _columns(report)
    marked = _worst_cells(report, keys)
    lines = []
    for row in report.rows:
        cells = [shown(key, row.scores.get(key)) for key in keys]
        bold = [f"**{c}**" if (row.case, key) in marked else c for key, c in zip(keys, cells, strict=True)]
        lines.append([row.case, *(bold if row.error is None else ["error", *bold[1:]])])
    parts.append(markdown_table(("case", *map(label, keys)), lines))
    if report.empties:
        parts.append("\n".join(f"- {line}" for line in report.empties))
    if report.issues:
        parts.append("\n".join(f"- {issue.message}" for issue in report.issues))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _cases_section(report: Report) -> Table:
    from rich.text import Text

    keys = _columns(report)
    rows = _shown_rows(report)
    marked = _worst_cells(report, keys)
    table = plain_table(("case", *map(_header, keys)))
    for row in rows:
        if row.error is not None:
            table.add_row(row.case, Text("error ", "bold red"), *[f"{UNDEFINED} "] * (len(keys) - 1))
            continue
        cells = []
        for key in keys:
            worst = (row.case, key) in marked
            text = shown(key, row.scores.get(key)) + (WORST_MARK if worst else " ")
            cells.append(Text(text, "bold red" if worst else ""))
        table.add_row(row.case + ("?" if row.missing else ""), *cells)
    hidden = len(report.rows) - len(rows)
    return section(
        _title(report),
        table,
        f"{WORST_MARK} among the worst of its column" if marked else "",
        "? no prediction: scored as background" if any(row.missing for row in rows) else "",
        f"{hidden} better cases are not shown (--csv has all)" if hidden else "",
    )


def _summary_lines(report: Report) -> list[list[str]]:
    return [_summary_cells(key, summary) for key, summary in report.aggregate.items() if not key.startswith("lesion_")]


def _summary_cells(key: str, summary: Summary) -> list[str]:
    interval = UNDEFINED if summary.ci95 is None else " .. ".join(shown(key, bound) for bound in summary.ci95)
    worst = f"{summary.worst[0][0]} {shown(key, summary.worst[0][1])}" if summary.worst else UNDEFINED
    std = UNDEFINED if summary.std is None else shown(key, summary.std).lstrip("+")
    return [label(key), shown(key, summary.mean), interval, shown(key, summary.median), std, str(summary.n), worst]


def _lesion_lines(report: Report) -> list[list[str]]:
    """Counts over all cases, and the rates that follow."""
    lines = []
    for size, name in zip(_SIZE_NAMES, _SIZE_LABELS, strict=True):
        cells = {}
        for count in ("truth", "found", "predicted", "right"):
            cells[count] = str(round(sum(row.scores[f"lesion_{count}{size}"] for row in report.scored)))
        for rate in ("sensitivity", "precision", "f1"):
            pooled = report.aggregate[f"lesion_{rate}{size}"].pooled
            cells[rate] = UNDEFINED if pooled is None else f"{pooled:.4f}"
        order = ("truth", "found", "sensitivity", "predicted", "right", "precision", "f1")
        lines.append([name, *(cells[column] for column in order)])
    return lines


def _summary_document(summary: Summary) -> dict[str, Any]:
    document = asdict(summary)
    document["mean"], document["median"] = finite(summary.mean), finite(summary.median)
    document["worst"] = [{"case": case, "value": value} for case, value in summary.worst]
    if summary.pooled is None:
        del document["pooled"]
    return document


def _title(report: Report) -> str:
    scored, failed = len(report.scored), len(report.rows) - len(report.scored)
    notes = [f"{scored} case{'' if scored == 1 else 's'}"] + ([f"{failed} failed"] if failed else [])
    if report.settings.get("official_compat"):
        notes.append("as the official code, traps included")
    return f"{report.protocol}: {', '.join(notes)}"


def _header(key: str) -> str:
    """`kidney`, `+mass` and `Dice ` below each other; the space stands above the mark of the worst values."""
    words = label(key).replace("+", " +").split(" ")
    return "\n".join(f"{word} " for word in words)


def _columns(report: Report) -> tuple[str, ...]:
    return report.keys if len(report.keys) <= MOST_COLUMNS else _MAIN_KEYS


def _shown_rows(report: Report) -> Sequence[Row]:
    """All rows, or where they are many, those that failed or are among the worst."""
    if len(report.rows) <= MOST_ROWS:
        return report.rows
    marked = {case for case, _ in _worst_cells(report, _columns(report))}
    return [row for row in report.rows if row.error is not None or row.case in marked]


def _worst_cells(report: Report, keys: Sequence[str]) -> set[tuple[str, str]]:
    """(case, key) of the worst values: five of each key, fewer where five would be more than a quarter of the cases."""
    most = max(1, min(5, len(report.scored) // 4)) if len(report.scored) > 1 else 0
    return {(case, key) for key in keys for case, _ in report.aggregate[key].worst[:most]}
