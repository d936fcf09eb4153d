"""A report as a terminal table, CSV, JSON and Markdown. Computes nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.decisions.agreement import agreement, total_confusion_ml
from evaluation.kits import PROTOCOLS, badness
from evaluation.report import Report, Row
from evaluation.tables.fitted import Cell, Fitted
from evaluation.tables.layout import (
    UNDEFINED,
    chosen,
    counted,
    finite,
    label,
    markdown_table,
    section,
    shown,
    stacked,
    write_document,
    write_text,
)
from evaluation.tables.summary import (
    CONFUSION_HEADER,
    LESION_HEADER,
    SUMMARY_HEADER,
    SUMMARY_SPARE,
    VOLUME_HEADER,
    confusion_lines,
    interval_notes,
    lesion_lines,
    summary_document,
    summary_lines,
    volume_lines,
)

if TYPE_CHECKING:
    from rich.table import Table

MOST_COLUMNS = 9
MOST_ROWS = 60
WORST_MARK = "<"

# What fits beside each other when a protocol has more keys than columns; the summary below has them all.
_MAIN_KEYS = tuple(
    f"{target}_{measure}" for measure in ("dice", "sd", "hd95_mm") for target in ("tumor", "kidney_and_mass", "mass")
)


def render(report: Report, columns: Sequence[str] = ()) -> Table:
    """The cases, the worst values of each column marked, and below them a line for each key.

    Args:
        columns: the keys to show, by name or pattern (`tumor_*`); without, all of a short protocol, the main ones of
            `all`.
    """
    sections = [_cases_section(report, columns)]
    if report.scored:
        keys = chosen(report.keys, columns)
        notes = (*report.policy.split("; "), *report.empties, *interval_notes(report.aggregate.values()))
        lines = summary_lines(report.aggregate, keys)
        sections.append(section("Over the cases", Fitted(SUMMARY_HEADER, lines, SUMMARY_SPARE), *notes))
        sections += [
            section(title, Fitted(header, body), *captions) for title, header, body, captions in _more(report, columns)
        ]
    return stacked(sections)


def as_document(report: Report) -> dict[str, Any]:
    """The report as JSON has it: NaN is null, a failed case has its `error`."""
    cases = []
    for row in report.rows:
        scores = {key: finite(row.scores.get(key)) for key in report.keys}
        notes: dict[str, Any] = {"missing": True} if row.missing else {}
        if row.error is not None:
            notes = {"error": row.error.message, "kind": row.error.kind, "exit_code": row.error.exit_code}
        if row.volumes_ml:
            notes["volumes_ml"] = {
                target: {"truth": true, "prediction": ours} for target, (true, ours) in row.volumes_ml.items()
            }
        if row.confusion_ml:
            notes["confusion_ml"] = [list(line) for line in row.confusion_ml]
        if row.lesions:
            notes["lesions"] = [asdict(lesion) for lesion in row.lesions]
        cases.append({"case": row.case, **scores, **notes})
    return {
        "protocol": report.protocol,
        "policy": report.policy,
        "settings": dict(report.settings),
        "cases": cases,
        "aggregate": {key: summary_document(summary) for key, summary in report.aggregate.items()},
        "volumes": {target: asdict(found) for target, found in agreement(report.scored).items()},
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
    rows = []
    for row in report.rows:
        values = [finite(row.scores.get(key)) for key in report.keys]
        rows.append([row.case, *values, row.error.message if row.error else ""])
    write_rows(path, ("case", *report.keys, "error"), rows)


def write_volumes(report: Report, path: Path) -> None:
    """Write one row a case and target: true and predicted mL.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = [[row.case, target, *pair] for row in report.scored for target, pair in row.volumes_ml.items()]
    write_rows(path, ("case", "target", "truth_ml", "prediction_ml"), rows)


def write_lesions(report: Report, path: Path) -> None:
    """Write one row a lesion, true and predicted ones.

    Raises:
        OutputError: the file cannot be written.
    """
    header = ("case", "side", "lesion", "size", "volume_ml", "diameter_mm", "centre_z", "centre_y", "centre_x")
    rows = [
        (
            *(row.case, found.side, found.number, found.size, found.volume_ml, found.diameter_mm, *found.centre),
            *(found.partner, found.iou, found.dice, found.distance_mm),
        )
        for row in report.scored
        for found in row.lesions
    ]
    write_rows(path, (*header, "partner", "iou", "dice", "distance_mm"), rows)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV: numbers in full, empty where there is none.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if v is None else repr(v) if isinstance(v, float) else v for v in row])
    write_text(path, text.getvalue())


def write_markdown(report: Report, path: Path, *more: str) -> None:
    """Write `as_markdown` and more of it, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, "\n".join((as_markdown(report), *more)))


def as_markdown(report: Report) -> str:
    """The summary and the cases as pipe tables, worst values bold, and the issues."""
    parts = [f"**{_title(report)}** ({report.policy})"]
    if report.scored:
        parts.append(markdown_table(SUMMARY_HEADER, summary_lines(report.aggregate, report.keys)))
        parts += [f"{title}\n\n{markdown_table(header, body)}" for title, header, body, _ in _more(report, ())]
    keys = _columns(report, ())
    marked = _worst_cells(report, keys)
    lines = []
    for row in report.rows:
        cells = [shown(key, row.scores.get(key)) for key in keys]
        bold = [f"**{c}**" if (row.case, key) in marked else c for key, c in zip(keys, cells, strict=True)]
        lines.append([row.case, *(bold if row.error is None else ["error", *bold[1:]])])
    parts.append(markdown_table(("case", *map(label, keys)), lines))
    notes = [*report.empties, *interval_notes(report.aggregate.values())] if report.scored else []
    if notes:
        parts.append("\n".join(f"- {line}" for line in notes))
    if report.issues:
        parts.append("\n".join(f"- {issue.message}" for issue in report.issues))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _more(report: Report, columns: Sequence[str]) -> list[tuple[str, Sequence[str], list[list[str]], tuple[str, ...]]]:
    """Lesions, volumes and labels: title, header, lines, captions; where the protocol has distances, or lesions."""
    found: list[tuple[str, Sequence[str], list[list[str]], tuple[str, ...]]] = []
    beyond = PROTOCOLS[report.protocol].beyond and not columns
    if "lesion_truth" in chosen(report.keys, columns):
        note = "in brackets: 95 % intervals, lesions of one case drawn together (Wilson, with the cases' own spread)"
        found.append(("Over all lesions", LESION_HEADER, lesion_lines(report), (note,)))
    if beyond and any(row.volumes_ml for row in report.scored):
        notes = "limits: bias -+ 1.96 deviations (Bland and Altman)", "concordance: Lin's coefficient"
        found.append(("Volumes in mL", VOLUME_HEADER, volume_lines(agreement(report.scored)), notes))
        total = total_confusion_ml(report.scored)
        captions = ("rows: true label, columns: predicted label, summed over the cases",)
        found.append(("Labels in mL", CONFUSION_HEADER, confusion_lines(total), captions))
    return found


def _cases_section(report: Report, columns: Sequence[str]) -> Table:
    from rich.text import Text

    keys = _columns(report, columns)
    rows = _shown_rows(report, keys)
    marked = _worst_cells(report, keys)
    lines: list[Sequence[Cell]] = []
    for row in rows:
        if row.error is not None:
            lines.append([row.case, Text("error ", "bold red"), *[f"{UNDEFINED} "] * (len(keys) - 1)])
            continue
        cells: list[Cell] = [row.case + ("?" if row.missing else "")]
        for key in keys:
            worst = (row.case, key) in marked
            text = shown(key, row.scores.get(key)) + (WORST_MARK if worst else " ")
            cells.append(Text(text, "bold red" if worst else ""))
        lines.append(cells)
    hidden = len(report.rows) - len(rows)
    return section(
        _title(report),
        Fitted(("case", *map(_header, keys)), lines),
        f"{WORST_MARK} among the worst of its column" if marked else "",
        "? no prediction: scored as background" if any(row.missing for row in rows) else "",
        f"{counted(hidden, 'better case')} not shown (--csv has all)" if hidden else "",
    )


def _title(report: Report) -> str:
    scored, failed = len(report.scored), len(report.rows) - len(report.scored)
    notes = [counted(scored, "case")] + ([f"{failed} failed"] if failed else [])
    if report.settings.get("official_compat"):
        notes.append("as the official code, traps included")
    return f"{report.protocol}: {', '.join(notes)}"


def _header(key: str) -> str:
    """`kidney`, `+mass` and `Dice ` below each other; the space stands above the mark of the worst values."""
    words = label(key).replace("+", " +").split(" ")
    return "\n".join(f"{word} " for word in words)


def _columns(report: Report, columns: Sequence[str]) -> tuple[str, ...]:
    if columns:
        return chosen(report.keys, columns)
    protocols = PROTOCOLS[report.protocol].keys
    requested = tuple(key for key in report.keys if key not in protocols)
    own = tuple(key for key in report.keys if key in protocols)
    return (own if len(own) <= MOST_COLUMNS else _MAIN_KEYS) + requested


def _shown_rows(report: Report, keys: Sequence[str]) -> Sequence[Row]:
    """All rows, or where they are many, those that failed or are among the worst."""
    if len(report.rows) <= MOST_ROWS:
        return report.rows
    marked = {case for case, _ in _worst_cells(report, keys)}
    return [row for row in report.rows if row.error is not None or row.case in marked]


def _worst_cells(report: Report, keys: Sequence[str]) -> set[tuple[str, str]]:
    """(case, key) of the worst values: five of each key, fewer where five would be more than a quarter of the cases.

    None where a key has one value for all cases: then no case is worse than another.
    """
    most = max(1, min(5, len(report.scored) // 4)) if len(report.scored) > 1 else 0
    apart = [key for key in keys if badness(key) and (report.aggregate[key].std or 0.0) > 0.0]
    return {(case, key) for key in apart for case, _ in report.aggregate[key].worst[:most]}
