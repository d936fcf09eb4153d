"""The KiTS21/23 ranking of submissions, and how far it would move with other cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evaluation.decisions.statistics import bootstrap_means, competition_ranks, kits_ranks
from evaluation.kits import KITS23
from evaluation.report import Report
from evaluation.tables.layout import markdown_table, plain_table, section
from kits_submit.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

_DICE = tuple(f"{target.name}_dice" for target in KITS23)
_SD = tuple(f"{target.name}_sd" for target in KITS23)
_HEADER = ("submission", "rank", "mean Dice", "mean SD", "tumor Dice", "rank 95 %", "P(first)", "P(this rank)")


@dataclass(frozen=True)
class Place:
    """One submission.

    - `dice`, `sd`: means over cases and the three classes. `dice_rank`, `sd_rank`: by each; `rank`: by their mean.
    - `rank95`: bootstrap interval of the rank over cases. `first`, `same`: shares of resamples with rank 1, this rank.
    """

    name: str
    rank: int
    dice: float
    sd: float
    tumor_dice: float
    dice_rank: int
    sd_rank: int
    rank95: tuple[int, int]
    first: float
    same: float


@dataclass(frozen=True)
class Ranking:
    """- `places`: best first. `left_out`: cases that were not scored in every submission."""

    places: Sequence[Place]
    cases: Sequence[str]
    left_out: Sequence[str]


def rank(reports: Mapping[str, Report]) -> Ranking:
    """Rank submissions by the cases that all have: mean rank of mean Dice and mean surface Dice, then tumor Dice.

    Raises:
        InputError: fewer than two submissions, or no case that all have.
    """
    if len(reports) < 2:
        raise InputError("one submission cannot be ranked", fix="give two or more folders before LABELS")
    rows = {name: {row.case: row for row in report.scored} for name, report in reports.items()}
    cases = sorted(set.intersection(*(set(by_case) for by_case in rows.values())))
    if not cases:
        raise InputError("no case was scored in every submission", fix="rank submissions of the same cases")
    left_out = sorted({row.case for report in reports.values() for row in report.rows} - set(cases))
    table = np.array(
        [
            [[_mean(rows[name][case].scores, keys) for keys in (_DICE, _SD, ("tumor_dice",))] for name in reports]
            for case in cases
        ]
    )  # cases x submissions x (Dice, SD, tumor Dice)
    means = table.mean(axis=0)
    resampled = bootstrap_means(table)
    ranks = _ranks(means)
    moved = _ranks(resampled)
    dice_ranks, sd_ranks = competition_ranks(means[:, 0]), competition_ranks(means[:, 1])
    places = []
    for number, name in enumerate(reports):
        low, high = np.quantile(moved[:, number], (0.025, 0.975), method="nearest")
        places.append(
            Place(
                name=name,
                rank=int(ranks[number]),
                dice=float(means[number, 0]),
                sd=float(means[number, 1]),
                tumor_dice=float(means[number, 2]),
                dice_rank=int(dice_ranks[number]),
                sd_rank=int(sd_ranks[number]),
                rank95=(int(low), int(high)),
                first=float((moved[:, number] == 1).mean()),
                same=float((moved[:, number] == ranks[number]).mean()),
            )
        )
    return Ranking(sorted(places, key=lambda place: (place.rank, place.name)), cases, left_out)


def render_ranking(ranking: Ranking) -> Table:
    """A line for each submission, best first."""
    caption = "in brackets: the rank by that mean alone; to the right: ranks when cases are drawn again"
    return section(_title(ranking), plain_table(_HEADER, _lines(ranking)), caption)


def ranking_markdown(ranking: Ranking) -> str:
    """The table, ready to paste."""
    return f"**{_title(ranking)}**\n\n" + markdown_table(_HEADER, _lines(ranking))


def ranking_document(ranking: Ranking) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "protocol": "kits23",
        "ranking": [asdict(place) for place in ranking.places],
        "cases": list(ranking.cases),
        "left_out": list(ranking.left_out),
    }


def _ranks(means: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return kits_ranks(means[..., 0], means[..., 1], means[..., 2])


def _mean(scores: Mapping[str, float], keys: Sequence[str]) -> float:
    return sum(scores[key] for key in keys) / len(keys)


def _lines(ranking: Ranking) -> list[list[str]]:
    return [
        [
            place.name,
            str(place.rank),
            f"{place.dice:.4f} ({place.dice_rank})",
            f"{place.sd:.4f} ({place.sd_rank})",
            f"{place.tumor_dice:.4f}",
            f"{place.rank95[0]} .. {place.rank95[1]}",
            f"{place.first:.0%}",
            f"{place.same:.0%}",
        ]
        for place in ranking.places
    ]


def _title(ranking: Ranking) -> str:
    left = f" ({len(ranking.left_out)} left out)" if ranking.left_out else ""
    return f"KiTS21/23 rank over {len(ranking.cases)} cases{left}: mean rank of Dice and SD, ties by tumor Dice"
