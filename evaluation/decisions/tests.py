"""Tests of many differences at once: how likely so large a one is if none is real. Knows numbers, no keys.

Paired runs are tested by flipping signs: if neither run is better, each case's difference could as well be its
opposite. The statistic is the mean's, so that test, interval and estimate speak of one quantity. All columns are
flipped together, and a column's adjusted p counts how often any column has so small a p (step-down minP, Westfall and
Young 1993, Resampling-Based Multiple Testing): the chance that anything at all is called different is held to 5 %, as
by Holm, and keys that measure nearly the same cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from evaluation.decisions.intervals import SEED

Floats = npt.NDArray[np.float64]

LEVEL = 0.05
FLIPS = 10_000
FEWEST_CASES = 6  # 2 / 2^5 is 0.0625: five cases that all agree are not yet beyond chance
_BLOCK = 2_000_000  # numbers drawn at a time
_ALL_SIGNS = 13  # cases up to which every pattern of signs is counted, not a sample of them
_SAME = 1e-9  # statistics that differ by less are equal
_DECIMALS = 9
_PATTERNS = 40  # of signs, a column: with fewer each column's smallest p alone would use up the 5 %


def sign_flip(differences: Floats, *, flips: int = FLIPS) -> Floats:
    """Two-sided p of each column's mean; 1 where nothing differs.

    Worked: differences 1, 2, 3 of one column: of the 8 patterns of signs, + + + and - - - are as far from 0: p = 0.25.

    Args:
        differences: cases x columns, NaN where a case has none.
        flips: patterns of signs to draw where there are more than 13 cases.
    """
    scaled = _scaled(differences)
    observed = np.abs(scaled.sum(axis=0)) - _SAME
    reached, patterns = np.zeros(scaled.shape[1]), 0
    for signs in _signs(len(scaled), flips):
        reached += (np.abs(signs @ scaled) >= observed).sum(axis=0)
        patterns += len(signs)
    p: Floats = reached / patterns
    return p


def sign_flip_adjusted(differences: Floats, *, flips: int = FLIPS) -> tuple[Floats, Floats]:
    """p of each column as `sign_flip`, and p adjusted for all columns.

    Where few cases give few patterns, columns are compared by their sums at a length of 1 (maxT), not by p (minP).

    Worked: columns 1, 1, 1 and 1, -1, 0. Up to a sign of the whole, the patterns + + +, - + +, + - +, + + - have sums
    3, 1, 1, 1 and 0, 2, 2, 0, so p of 1/4, 1, 1, 1 and 1, 1/2, 1/2, 1. The smaller of each pattern is 1/4, 1/2, 1/2, 1:
    the first column's 1/4 is reached once, adjusted p = 0.25; the second's p of 1 always.
    """
    scaled = _scaled(differences)
    reached = np.concatenate([np.abs(signs @ scaled) for signs in _signs(len(scaled), flips)]).round(_DECIMALS)
    ordered = np.sort(reached, axis=0)
    places = [np.searchsorted(ordered[:, column], reached[:, column]) for column in range(reached.shape[1])]
    p = 1.0 - np.array(places, np.float64).reshape(len(places), -1).T / max(1, len(reached))
    scale = p if len(p) >= _PATTERNS * p.shape[1] else -reached
    order = np.argsort(scale[0], kind="stable")
    smallest = np.minimum.accumulate(scale[:, order[::-1]], axis=1)[:, ::-1]
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate((smallest <= scale[0, order] + _SAME).mean(axis=0))
    return p[0], adjusted


def _scaled(differences: Floats) -> Floats:
    """Each column at a length of 1, 0 where a case has none."""
    known = np.nan_to_num(differences, nan=0.0)
    lengths = np.sqrt((known**2).sum(axis=0))
    scaled: Floats = known / np.where(lengths > 0, lengths, 1.0)
    return scaled


def holm(p: Floats) -> Floats:
    """p adjusted for the number of tests (Holm 1979); NaN stays and is no test.

    Worked: 0.01, 0.04, 0.03 become 3 * 0.01, then at least 2 * 0.03, then at least 0.04: 0.03, 0.06, 0.06.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else 0.0
    return adjusted


def between_groups(values: Floats, group: Sequence[int], *, shuffles: int = FLIPS) -> Floats:
    """p of each column that its groups' means differ only by chance, by dealing the cases to groups anew.

    NaN where fewer than two groups have a value, or no group has two; cases without a value are not dealt.

    Args:
        values: cases x columns. `group`: of each case.
    """
    found = np.full(values.shape[1], np.nan)
    known = np.isfinite(values)
    for pattern in {column.tobytes(): column for column in known.T}.values():
        alike = np.array([i for i in range(values.shape[1]) if np.array_equal(known[:, i], pattern)])
        _, of_case, sizes = np.unique(np.array(group)[pattern], return_inverse=True, return_counts=True)
        if len(sizes) < 2 or sizes.max() < 2:
            continue
        centred = values[np.ix_(pattern, alike)] - values[np.ix_(pattern, alike)].mean(axis=0)
        observed = _between(centred, of_case[None], sizes)[0]
        reached = np.ones(len(alike))
        for dealt in _deals(of_case, shuffles):
            reached += (_between(centred, dealt, sizes) >= observed - _SAME * (1.0 + observed)).sum(axis=0)
        found[alike] = np.where(observed > 0, reached / (shuffles + 1), 1.0)
    return found


def _between(centred: Floats, dealt: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Floats:
    """Sum of squares between groups: deals x columns. `dealt`: the group of each case, deals x cases."""
    squares = np.zeros((len(dealt), centred.shape[1]))
    for group, size in enumerate(sizes):
        squares += ((dealt == group) @ centred) ** 2 / size
    return squares


def _deals(of_case: npt.NDArray[np.int64], shuffles: int) -> Iterator[npt.NDArray[np.int64]]:
    """The cases' groups in random order, many at a time."""
    draw = np.random.default_rng(SEED)
    step = max(1, _BLOCK // len(of_case))
    for start in range(0, shuffles, step):
        yield draw.permuted(np.tile(of_case, (min(step, shuffles - start), 1)), axis=1)


def _signs(cases: int, flips: int) -> Iterator[Floats]:
    """Patterns of signs, the observed one (all +) among them: all up to a sign of the whole, or a sample."""
    if cases <= _ALL_SIGNS:
        patterns = np.arange(2 ** max(cases - 1, 0))[:, None] >> np.arange(cases) & 1
        yield (1 - 2 * patterns).astype(np.float64)
        return
    yield np.ones((1, cases))
    draw = np.random.default_rng(SEED)
    step = max(1, _BLOCK // cases)
    for start in range(0, flips, step):
        yield (2 * draw.integers(0, 2, (min(step, flips - start), cases)) - 1).astype(np.float64)
