"""Scores as a page has them: columns with their way of being worse, intervals, comparisons and ranks as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.kits import badness
from evaluation.tables.layout import label, shown, signed
from kits_submit.report.page.cohort import Cohort, Column, Entry, Interval, Scores
from kits_submit.report.page.html import table
from kits_submit.report.page.page import CasePages, write_report
from kits_submit.report.page.plots import Dot, differences, ranks

if TYPE_CHECKING:
    from evaluation.decisions.compare import Change, Comparison
    from evaluation.decisions.rank import Ranking

_SIZE_SCORES = ("tumor_dice", "tu_dice")


def page_scores(document: Mapping[str, Any]) -> Scores:
    """The scores of `scores.json`, or of `evaluation.tables.table.as_document`."""
    keys = tuple(document.get("aggregate") or {})
    cases = document.get("cases") or []
    intervals = {
        key: Interval(told["mean"], None if told.get("ci95") is None else tuple(told["ci95"]), told["n"])
        for key, told in (document.get("aggregate") or {}).items()
        if told.get("mean") is not None
    }
    return Scores(
        columns=score_columns(keys),
        values={case["case"]: {key: case.get(key) for key in keys} for case in cases},
        notes={case["case"]: _note(case) for case in cases if _note(case)},
        intervals=intervals,
        size_score=next((key for key in _SIZE_SCORES if key in keys), ""),
        policy=str(document.get("policy") or ""),
    )


def score_columns(keys: tuple[str, ...]) -> list[Column]:
    """A column a key."""
    return [Column(key, label(key), badness(key), partial(shown, key)) for key in keys]


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Two runs: a table of keys, each key's paired differences, and a row of differences a case.

    Raises:
        OutputError: it cannot be written.
    """
    a, b = comparison.names
    told = {key: change for key, change in comparison.changes.items() if badness(key) and change.n}
    header = ("measure", "A", "B", "B - A", "95 % interval", "p", "better", "worse", "verdict")
    lines = [(label(key), *_change_cells(key, change)) for key, change in told.items()]
    drawn = "".join(_differences(key, change, comparison) for key, change in told.items())
    left = f"; left out: {', '.join(comparison.left_out)}" if comparison.left_out else ""
    before = table(header, lines, f"A = {a}, B = {b}{left}") + f'<div class="plots">{drawn}</div>\n'
    entries = [
        Entry(case, values={f"{key}_difference": of_case.get(key) for key in told})
        for case, of_case in comparison.differences.items()
    ]
    columns = [Column(f"{key}_difference", f"{label(key)}, B - A", 0, partial(_signed, key)) for key in told]
    write_report(Cohort(f"{b} against {a}", columns, entries), CasePages(path), before=before)


def write_ranking(ranking: Ranking, path: Path) -> None:
    """Submissions by rank, and how far each rank moves when cases are drawn again.

    Raises:
        OutputError: it cannot be written.
    """
    columns = [
        Column("rank", "rank", 0, _whole), Column("dice", "mean Dice", -1, partial(shown, "mass_dice")),
        Column("sd", "mean SD", -1, partial(shown, "mass_sd")),
        Column("tumor_dice", "tumor Dice", -1, partial(shown, "tumor_dice")),
        Column("low", "rank 95 %, from", 0, _whole), Column("high", "to", 0, _whole),
        Column("first", "P(first)", 0, _percent), Column("same", "P(this rank)", 0, _percent),
    ]  # fmt: skip
    entries = []
    for place in ranking.places:
        low, high = place.rank95 or (None, None)
        values = {
            "rank": place.rank, "dice": place.dice, "sd": place.sd, "tumor_dice": place.tumor_dice,
            "low": low, "high": high, "first": place.first, "same": place.same,
        }  # fmt: skip
        entries.append(Entry(place.name, "ranked", values=values))
    drawn = ranks([(place.name, place.rank, place.rank95 or (place.rank, place.rank)) for place in ranking.places])
    title = f"KiTS21/23 rank of {len(ranking.places)} submissions over {len(ranking.cases)} cases"
    write_report(Cohort(title, columns, entries), CasePages(path), before=f'<div class="plots">{drawn}</div>\n')


def _note(case: Mapping[str, Any]) -> str:
    return str(case.get("error") or ("no prediction: scored as background" if case.get("missing") else ""))


def _change_cells(key: str, change: Change) -> tuple[str, ...]:
    interval = "-" if change.ci95 is None else " .. ".join(signed(key, bound) for bound in change.ci95)
    return (
        shown(key, change.mean_a), shown(key, change.mean_b), signed(key, change.difference), interval,
        f"{change.p_adjusted:.2g}", str(change.better), str(change.worse), change.verdict,
    )  # fmt: skip


def _differences(key: str, change: Change, comparison: Comparison) -> str:
    dots = [
        Dot(of_case[key], 0.25 + 0.5 * ((number * 0.618) % 1), f"{case}: {signed(key, of_case[key])}")
        for number, (case, of_case) in enumerate(comparison.differences.items())
        if of_case[key] == of_case[key]  # NaN: undefined in one of the two
    ]
    told = f"B - A {signed(key, change.difference)}, p = {change.p_adjusted:.2g} (of all measures), {change.verdict}"
    return differences(label(key), dots, change.difference, change.ci95, told)


def _signed(key: str, value: float | None) -> str:
    return "-" if value is None else signed(key, value)


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
