"""A comparison as a terminal table, CSV, JSON and Markdown. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.decisions.compare import MOST_CHANGED, Change, Comparison
from evaluation.decisions.intervals import FEW_CASES, METHOD
from evaluation.decisions.tests import FEWEST_CASES
from evaluation.kits import badness
from evaluation.tables.fitted import Fitted
from evaluation.tables.layout import (
    UNDEFINED,
    chosen,
    counted,
    finite,
    label,
    markdown_table,
    section,
    shown,
    signed,
    stacked,
)
from evaluation.tables.table import write_rows

if TYPE_CHECKING:
    from rich.table import Table

_HEADER = ("measure", "A", "B", "B - A", "95 % interval", "p", "verdict", "better", "worse", "median")
_SPARE = ("better", "worse", "median")
_SPLIT = "*"


def render_comparison(comparison: Comparison, columns: Sequence[str] = ()) -> Table:
    """A line for each key, and below it the cases that changed most."""
    keys = _most_telling(comparison, columns)
    places = [[_most_changed(key, comparison.changes[key], place) for key in keys] for place in range(MOST_CHANGED)]
    lines = [[str(number), *line] for number, line in enumerate(places, 1) if any(line)]
    means = Fitted(_HEADER, _lines(comparison, columns), _SPARE)
    sections = [section(_title(comparison), means, *_notes(comparison))]
    if lines:
        most = Fitted(("", *(_name(key) for key in keys)), lines)
        sections.append(section("Most changed, A to B", most))
    return stacked(sections)


def comparison_markdown(comparison: Comparison) -> str:
    """The table of keys, ready to paste."""
    notes = "\n".join(f"- {note}" for note in _notes(comparison))
    return f"**{_title(comparison)}**\n\n{markdown_table(_HEADER, _lines(comparison, ()))}\n{notes}\n"


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """As JSON has it: NaN is null."""
    changes = {}
    for key, change in comparison.changes.items():
        document = asdict(change) | {"verdict": change.verdict, "mean_and_median_disagree": change.split}
        for name in ("mean_a", "mean_b", "difference", "median"):
            document[name] = finite(document[name])
        document["most_changed"] = [{"case": case, "a": a, "b": b} for case, a, b in change.most_changed]
        changes[key] = document
    return {
        "protocol": comparison.protocol,
        "a": comparison.names[0],
        "b": comparison.names[1],
        "changes": changes,
        "cases": [
            {"case": case, **{key: finite(value) for key, value in by_key.items()}}
            for case, by_key in comparison.differences.items()
        ],
        "left_out": list(comparison.left_out),
    }


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Write one row a case: the differences B - A, of volume errors those of their sizes.

    Raises:
        OutputError: the file cannot be written.
    """
    keys = tuple(comparison.changes)
    rows = [[case, *(finite(by_key[key]) for key in keys)] for case, by_key in comparison.differences.items()]
    write_rows(path, ("case", *keys), rows)


def _most_telling(comparison: Comparison, columns: Sequence[str]) -> list[str]:
    """The three keys whose most changed cases fit beside each other: those with the smallest p."""
    keys = chosen(tuple(comparison.changes), columns)
    judged = [key for key in keys if badness(key) and comparison.changes[key].most_changed]
    return sorted(judged, key=lambda key: (comparison.changes[key].p_adjusted, comparison.changes[key].p))[:3]


def _lines(comparison: Comparison, columns: Sequence[str]) -> list[list[str]]:
    lines = []
    for key in chosen(tuple(comparison.changes), columns):
        change = comparison.changes[key]
        unchanged = not (change.better or change.worse)
        if not badness(key) or (key.startswith("lesion_") and unchanged):
            continue
        interval = UNDEFINED if change.ci95 is None else " .. ".join(signed(key, bound) for bound in change.ci95)
        sizes = [shown(key, mean).lstrip("+") for mean in (change.mean_a, change.mean_b)]
        p = f"{change.p_adjusted:.2g}" if change.n else UNDEFINED
        verdict = change.verdict + (_SPLIT if change.split else "")
        counts = [str(change.better), str(change.worse)]
        moved = [signed(key, change.difference), interval, p, verdict, *counts, signed(key, change.median)]
        lines.append([_name(key), *sizes, *moved])
    return lines


def _notes(comparison: Comparison) -> list[str]:
    changes = comparison.changes
    judged = sum(badness(key) != 0 for key in changes)
    notes = [
        f"p: signs flipped at random, adjusted for all {judged} measures at once (Westfall and Young)",
        f"intervals: of the mean difference, each measure's own; {METHOD}",
    ]
    if any(badness(key) == 2 for key in changes):
        notes.append("|volume|: the size of the error, whichever its sign")
    cases = len(comparison.differences)
    if cases < FEWEST_CASES:
        notes.append(f"{counted(cases, 'case')}: fewer than {FEWEST_CASES} cannot decide, however alike they are")
    elif cases < FEW_CASES:
        notes.append(f"{counted(cases, 'case')}: below {FEW_CASES}, intervals cover less than they say")
    for key, change in changes.items():
        if change.split and change.verdict != "-":
            notes.append(_told_split(key, change))
    if any(change.split and change.verdict == "-" for change in changes.values()):
        notes.append(f"{_SPLIT} mean and median point in opposite ways")
    return notes


def _told_split(key: str, change: Change) -> str:
    winner, loser = ("A", "B") if change.verdict.startswith("A") else ("B", "A")
    return (
        f"{_SPLIT} {_name(key)}: the mean says {winner}, the median {loser} (B better in {change.better}, worse in"
        f" {change.worse}): a few large differences outweigh many small ones"
    )


def _most_changed(key: str, change: Change, place: int) -> str:
    if place >= len(change.most_changed):
        return ""
    case, a, b = change.most_changed[place]
    return f"{case} {shown(key, a)} to {shown(key, b)}"


def _name(key: str) -> str:
    return label(key, absolute=badness(key) == 2)


def _title(comparison: Comparison) -> str:
    left = f", {len(comparison.left_out)} left out" if comparison.left_out else ""
    cases = counted(len(comparison.differences), "case")
    return f"{comparison.protocol}, {cases}{left}: A = {comparison.names[0]}, B = {comparison.names[1]}"
