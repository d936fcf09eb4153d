"""`Cohort`: what a page says of all cases together, and its table. Knows no files and no scores' meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kits_submit.report.page.html import esc


@dataclass(frozen=True)
class Column:
    """A number of each case.

    - `worse`: how values are worse: 1 higher, -1 lower, 2 farther from zero, 0 neither.
    - `shown`: a value as the table has it.
    """

    key: str
    label: str
    worse: int = 0
    shown: Callable[[float | None], str] = lambda value: "-" if value is None else f"{value:.1f}"


@dataclass(frozen=True)
class Entry:
    """A case's row.

    - `values`: by column key; None or absent where undefined. `link`: where its pictures are; empty for none.
    """

    case: str
    status: str = "done"
    notes: str = ""
    values: Mapping[str, float | None] = field(default_factory=dict)
    link: str = ""


@dataclass(frozen=True)
class Interval:
    """A score's mean over the cases, and the bootstrap interval of that mean (None for too few cases)."""

    mean: float
    ci95: tuple[float, float] | None
    n: int


@dataclass(frozen=True)
class Scores:
    """What scoring hands on to a page.

    - `values`, `notes`: by case. `size_score`: the column to show against a tumor's size. `policy`: of empty masks.
    """

    columns: Sequence[Column] = ()
    values: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    size_score: str = ""
    policy: str = ""


@dataclass(frozen=True)
class Cohort:
    """- `scores`: the keys of the columns that are scores. `truths`: (predicted, true) columns of volumes, by name."""

    title: str
    columns: Sequence[Column]
    entries: Sequence[Entry]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    truths: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    size_key: str = ""
    size_score: str = ""
    policy: str = ""

    @property
    def scores(self) -> list[Column]:
        """The columns of which some values are worse than others."""
        return [column for column in self.columns if column.worse]


def cases_table(cohort: Cohort) -> str:
    """The table with its controls: text to filter by, a status, and what to put the worst of first."""
    statuses = sorted({entry.status for entry in cohort.entries})
    options = "".join(f"<option>{esc(status)}</option>" for status in statuses)
    worst = "".join(f'<option value="{esc(c.key)}">{esc(c.label)}</option>' for c in _by_weight(cohort))
    chooser = (
        f'<label>Worst first by <select id="worst"><option value="">-</option>{worst}</select></label>' if worst else ""
    )
    head = _head("case", "case", text=True) + _head("status", "status", text=True) + _head("notes", "notes", text=True)
    head += "".join(_head(c.key, c.label, worse=c.worse) for c in cohort.columns)
    rows = "".join(_row(cohort, entry) for entry in cohort.entries)
    return (
        f'<form class="controls" role="search" aria-label="Cases">'
        f'<label>Filter <input type="search" id="filter" placeholder="case, status or note" autocomplete="off"></label>'
        f'<label>Status <select id="status"><option value="">all</option>{options}</select></label>{chooser}'
        f'<output id="count" aria-live="polite">{len(cohort.entries)} cases</output></form>\n'
        f'<div class="wide" tabindex="0" role="region" aria-label="Table of cases"><table id="cases">'
        f"<thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )


def _by_weight(cohort: Cohort) -> list[Column]:
    """Scores to sort by, a tumor's Dice first."""
    return sorted(cohort.scores, key=lambda c: (c.key != cohort.size_score,))


def _head(key: str, label: str, *, text: bool = False, worse: int = 0) -> str:
    kind = "text" if text else "number"
    return (
        f'<th scope="col" data-key="{esc(key)}" data-kind="{kind}" data-worse="{worse}" aria-sort="none">'
        f'<button type="button">{esc(label)}</button></th>'
    )


def _row(cohort: Cohort, entry: Entry) -> str:
    name = f'<a href="{esc(entry.link)}">{esc(entry.case)}</a>' if entry.link else esc(entry.case)
    cells = "".join(_cell(column, entry.values.get(column.key)) for column in cohort.columns)
    return (
        f'<tr data-status="{esc(entry.status)}"><th scope="row">{name}</th>'
        f'<td class="{"good" if entry.status == "done" else "bad"}">{esc(entry.status)}</td>'
        f'<td class="note">{esc(entry.notes)}</td>{cells}</tr>\n'
    )


def _cell(column: Column, value: float | None) -> str:
    known = value if value is not None and math.isfinite(value) else None
    data = "" if known is None else f' data-value="{known!r}"'
    return f"<td{data}>{esc(column.shown(known))}</td>"
