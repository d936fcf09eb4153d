"""A ranking as a terminal table, JSON and Markdown. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evaluation.decisions.intervals import FEW_CASES
from evaluation.decisions.rank import Place, Ranking
from evaluation.decisions.tests import FEWEST_CASES
from evaluation.tables.fitted import Fitted
from evaluation.tables.layout import UNDEFINED, counted, markdown_table, section, stacked

if TYPE_CHECKING:
    from rich.table import Table

_HEADER = ("submission", "rank", "mean Dice", "mean SD", "tumor Dice", "rank 95 %", "P(first)", "P(this rank)")


def render_ranking(ranking: Ranking) -> Table:
    """A line for each submission, best first, and below it who is significantly better than whom."""
    table = section(_title(ranking), Fitted(_HEADER, _lines(ranking)), *_notes(ranking))
    header, lines = _map(ranking)
    return stacked([table, section("Significantly better than", Fitted(header, lines), *_map_notes(ranking))])


def ranking_markdown(ranking: Ranking) -> str:
    """Both tables, ready to paste."""
    notes = "\n".join(f"- {note}" for note in (*_notes(ranking), *_map_notes(ranking)))
    significance = markdown_table(*_map(ranking))
    places = markdown_table(_HEADER, _lines(ranking))
    return f"**{_title(ranking)}**\n\n{places}\nSignificantly better than\n\n{significance}\n{notes}\n"


def ranking_document(ranking: Ranking) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "protocol": "kits23",
        "ranking": [asdict(place) for place in ranking.places],
        "pairs": [asdict(duel) for duel in ranking.duels],
        "kendall_tau": ranking.tau,
        "kendall_tau95": ranking.tau95,
        "cases": list(ranking.cases),
        "left_out": list(ranking.left_out),
    }


def _lines(ranking: Ranking) -> list[list[str]]:
    return [
        [
            place.name,
            str(place.rank),
            f"{place.dice:.4f} ({place.dice_rank})",
            f"{place.sd:.4f} ({place.sd_rank})",
            f"{place.tumor_dice:.4f}",
            UNDEFINED if place.rank95 is None else f"{place.rank95[0]} .. {place.rank95[1]}",
            _share(place.first),
            _share(place.same),
        ]
        for place in ranking.places
    ]


def _map(ranking: Ranking) -> tuple[Sequence[str], list[list[str]]]:
    """Rows and columns by place; a cell names the measures in which the row's is better than the column's."""
    duels = {frozenset((duel.first, duel.second)): duel for duel in ranking.duels}
    lines = []
    for place in ranking.places:
        cells = [_won(place, other, duels) for other in ranking.places]
        lines.append([f"{place.rank} {place.name}", *cells])
    return ("submission", *(_column(place, ranking) for place in ranking.places)), lines


def _won(place: Place, other: Place, duels: dict[frozenset[str], Any]) -> str:
    if place.name == other.name:
        return ""
    return " ".join(duels[frozenset((place.name, other.name))].won_by(place.name)) or UNDEFINED


def _column(place: Place, ranking: Ranking) -> str:
    """The rank, and where several share it a letter."""
    same = [other.name for other in ranking.places if other.rank == place.rank]
    return f"{place.rank}" if len(same) == 1 else f"{place.rank}{chr(ord('a') + same.index(place.name) % 26)}"


def _notes(ranking: Ranking) -> list[str]:
    notes = ["in brackets: the rank by that mean alone; to the right: ranks when cases are drawn again"]
    cases = len(ranking.cases)
    if cases < FEW_CASES:
        told = "say nothing of other cases" if cases == 1 else "say little of other cases"
        notes.append(f"{counted(cases, 'case')}: ranks {told}")
    if ranking.tau is not None and ranking.tau95 is not None:
        low, high = ranking.tau95
        notes.append(
            f"Kendall's tau with rankings of cases drawn again: mean {ranking.tau:.2f}, 95 % in {low:.2f} .. {high:.2f}"
        )
    return notes


def _map_notes(ranking: Ranking) -> list[str]:
    notes = ["p < 0.05 of the mean difference, signs flipped at random, all pairs and both measures by Holm"]
    if len(ranking.cases) < FEWEST_CASES:
        notes.append(f"fewer than {FEWEST_CASES} cases cannot decide")
    return notes


def _share(share: float | None) -> str:
    return UNDEFINED if share is None else f"{share:.0%}"


def _title(ranking: Ranking) -> str:
    left = f" ({len(ranking.left_out)} left out)" if ranking.left_out else ""
    cases = counted(len(ranking.cases), "case")
    return f"KiTS21/23 rank over {cases}{left}: mean rank of Dice and SD, ties by tumor Dice"
