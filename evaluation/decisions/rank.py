"""The KiTS21/23 ranking of submissions, how far other cases would move it, and which differences are significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.decisions.compare import EQUAL
from evaluation.decisions.intervals import Floats, Interval, bootstrap_means
from evaluation.decisions.tests import FLIPS, LEVEL, holm, sign_flip
from evaluation.kits import KITS23
from evaluation.report import Report
from kits_submit.errors import InputError

_DICE = tuple(f"{target.name}_dice" for target in KITS23)
_SD = tuple(f"{target.name}_sd" for target in KITS23)
DECIMALS = 8  # KiTS23's code ranks the means that its evaluation.csv holds (`%0.8f`)
_MOST_FLIPS = 200_000


@dataclass(frozen=True)
class Place:
    """One submission.

    - `dice`, `sd`: means over cases and the three classes. `dice_rank`, `sd_rank`: by each; `rank`: by their mean.
    - `rank95`: bootstrap interval of the rank over cases. `first`, `same`: shares of resamples with rank 1, this rank.
      None where there is one case, which says nothing of others.
    """

    name: str
    rank: int
    dice: float
    sd: float
    tumor_dice: float
    dice_rank: int
    sd_rank: int
    rank95: tuple[int, int] | None
    first: float | None
    same: float | None


@dataclass(frozen=True)
class Duel:
    """Two submissions: mean differences `first` - `second`, and their p for all pairs and both measures (Holm)."""

    first: str
    second: str
    dice: float
    sd: float
    dice_p: float
    sd_p: float

    def won_by(self, name: str) -> tuple[str, ...]:
        """The measures in which `name` is significantly better: `Dice`, `SD`."""
        way = 1 if name == self.first else -1
        found = (("Dice", self.dice, self.dice_p), ("SD", self.sd, self.sd_p))
        return tuple(measure for measure, difference, p in found if p < LEVEL and way * difference > 0)


@dataclass(frozen=True)
class Ranking:
    """- `places`: best first. `left_out`: cases that were not scored in every submission.

    - `duels`: every pair. `tau`, `tau95`: Kendall's tau-b of the ranking and those of resampled cases, its mean and the
      middle 95 %; None with one case, or where all share one rank.
    """

    places: Sequence[Place]
    cases: Sequence[str]
    left_out: Sequence[str]
    duels: Sequence[Duel]
    tau: float | None
    tau95: Interval | None


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
    table = np.array([[[rows[name][case].scores[key] for key in _DICE + _SD] for name in reports] for case in cases])
    ranks, means = _ranks(table.mean(axis=0))
    moved = _ranks(bootstrap_means(table))[0] if len(cases) > 1 else None
    places = [_place(name, number, ranks, means, moved) for number, name in enumerate(reports)]
    tau, tau95 = (None, None) if moved is None else _tau(ranks, moved)
    duels = _duels(list(reports), table)
    return Ranking(sorted(places, key=lambda place: (place.rank, place.name)), cases, left_out, duels, tau, tau95)


def competition_ranks(scores: Floats) -> npt.NDArray[np.int64]:
    """Rank 1 for the highest of the last axis; equal scores share the better rank (0.9, 0.8, 0.8, 0.7: 1, 2, 2, 4)."""
    ranks: npt.NDArray[np.int64] = 1 + (scores[..., None, :] > scores[..., :, None]).sum(axis=-1)
    return ranks


def kits_ranks(mean_dice: Floats, mean_sd: Floats, tumor_dice: Floats) -> npt.NDArray[np.int64]:
    """KiTS21/23: the mean of the rank by mean Dice and the rank by mean surface Dice; ties go to tumor Dice.

    The last axis is the submissions; axes before it are resamples.
    """
    twice_mean_rank = competition_ranks(mean_dice) + competition_ranks(mean_sd)
    better = twice_mean_rank[..., None, :] < twice_mean_rank[..., :, None]
    tied = twice_mean_rank[..., None, :] == twice_mean_rank[..., :, None]
    better |= tied & (tumor_dice[..., None, :] > tumor_dice[..., :, None])
    ranks: npt.NDArray[np.int64] = 1 + better.sum(axis=-1)
    return ranks


def kendall_tau(one: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> Floats:
    """Kendall's tau-b of a ranking with each of others (rows); NaN where a ranking has one rank for all.

    Worked: 1 2 3 with 2 1 3: of three pairs two agree and one does not: (2 - 1) / 3.
    """
    a, b = np.triu_indices(len(one), 1)
    ours, theirs = np.sign(one[a] - one[b]), np.sign(others[..., a] - others[..., b])
    pairs = np.sqrt(np.abs(ours).sum() * np.abs(theirs).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        tau: Floats = (ours * theirs).sum(axis=-1) / np.where(pairs > 0, pairs, np.nan)
    return tau


def _ranks(means: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Ranks of (..., submissions, six keys) as KiTS23's code has them, and (mean Dice, mean SD, tumor Dice) of each."""
    rounded = means.round(DECIMALS)
    three = np.stack((rounded[..., :3].mean(axis=-1), rounded[..., 3:].mean(axis=-1), rounded[..., 2]), axis=-1)
    three = three.round(DECIMALS + 4)  # the last bit of a mean of three is no difference
    return kits_ranks(three[..., 0], three[..., 1], three[..., 2]), three


def _place(
    name: str,
    number: int,
    ranks: npt.NDArray[np.int64],
    means: Floats,
    moved: npt.NDArray[np.int64] | None,
) -> Place:
    interval = first = same = None
    if moved is not None:
        low, high = np.quantile(moved[:, number], (0.025, 0.975), method="nearest")
        interval = int(low), int(high)
        first, same = (float((moved[:, number] == place).mean()) for place in (1, ranks[number]))
    return Place(
        name=name,
        rank=int(ranks[number]),
        dice=float(means[number, 0]),
        sd=float(means[number, 1]),
        tumor_dice=float(means[number, 2]),
        dice_rank=int(competition_ranks(means[:, 0])[number]),
        sd_rank=int(competition_ranks(means[:, 1])[number]),
        rank95=interval,
        first=first,
        same=same,
    )


def _tau(ranks: npt.NDArray[np.int64], moved: npt.NDArray[np.int64]) -> tuple[float | None, Interval | None]:
    found = kendall_tau(ranks, moved)
    found = found[np.isfinite(found)]
    if not len(found):
        return None, None
    low, high = np.quantile(found, (0.025, 0.975))
    return float(found.mean()), (float(low), float(high))


def _duels(names: Sequence[str], table: Floats) -> list[Duel]:
    """Of cases x submissions x six keys: flips of signs, enough of them for Holm's smallest step."""
    dice, sd = table[..., :3].mean(axis=-1), table[..., 3:].mean(axis=-1)
    a, b = np.triu_indices(len(names), 1)
    differences = np.concatenate((dice[:, a] - dice[:, b], sd[:, a] - sd[:, b]), axis=1)
    differences[np.abs(differences) < EQUAL] = 0.0
    flips = min(max(FLIPS, int(4 * differences.shape[1] / LEVEL)), _MOST_FLIPS)
    p = holm(sign_flip(differences, flips=flips))
    means = differences.mean(axis=0)
    pairs = len(a)
    return [
        Duel(
            names[first],
            names[second],
            dice=float(means[place]),
            sd=float(means[pairs + place]),
            dice_p=float(p[place]),
            sd_p=float(p[pairs + place]),
        )
        for place, (first, second) in enumerate(zip(a.tolist(), b.tolist(), strict=True))
    ]
