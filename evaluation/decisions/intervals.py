"""Intervals of means and of pooled rates over cases. Knows numbers, no keys.

A mean's interval is the studentised bootstrap (bootstrap-t; Efron 1981, Hall 1988). Percentile and BCa intervals of few
cases are too narrow: on Dice-like values a nominal 95 % of 10 cases covers 89 % (percentile), 90 % (BCa) and 95 %
(studentised); `benchmarks/verdicts.py` repeats it. What no method mends: ten cases that hold no failure say nothing of
how often one happens.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

SEED = 20190101  # fixed, so that the same rows give the same interval
RESAMPLES = 10_000
FEW_CASES = 10  # below it intervals cover less than they say, by what `benchmarks/verdicts.py` measures
METHOD = "studentised bootstrap over cases"
_ALIKE = 0.01  # of resamples without spread: with more the bootstrap alone says too little
_BLOCK = 2_000_000  # numbers drawn at a time


def bootstrap_means(values: Floats, *, seed: int = SEED, resamples: int = RESAMPLES) -> Floats:
    """Means of resampled cases: `values` is cases, or cases x columns resampled together; one row a resample.

    Resamples of the same number of cases draw the same cases.
    """
    flat = values.reshape(len(values), -1)
    drawn = _draws(len(values), seed, resamples)
    means = np.concatenate([counts @ flat / len(values) for counts in drawn])
    return means.reshape(resamples, *values.shape[1:])


def interval95(values: Floats, bounds: Interval = (-np.inf, np.inf)) -> Interval | None:
    """As `intervals95`, of one column without NaN."""
    return intervals95(values[:, None], [bounds])[0]


def intervals95(values: Floats, bounds: list[Interval]) -> list[Interval | None]:
    """95 % intervals of each column's mean, NaN left out; None where fewer than two values, or all are equal.

    Where more than 1 % of the resamples have no spread (fewer than 5 cases, or nearly all values equal), it is joined
    with Student's t interval.

    Args:
        values: cases x columns.
        bounds: what each column's mean cannot leave, a share's (0, 1).
    """
    found: list[Interval | None] = [None] * values.shape[1]
    known = np.isfinite(values)
    for pattern in {column.tobytes(): column for column in known.T}.values():
        alike = [i for i in range(values.shape[1]) if np.array_equal(known[:, i], pattern)]
        if pattern.sum() < 2:
            continue
        lows, highs = _studentised(values[np.ix_(pattern, alike)])
        for number, low, high in zip(alike, lows, highs, strict=True):
            if low < high:
                found[number] = float(max(low, bounds[number][0])), float(min(high, bounds[number][1]))
    return found


def pooled_interval95(above: Floats, below: Floats, most: float | None = None) -> Interval | None:
    """95 % interval of the rate sum(above) / sum(below) between 0 and 1, the cases drawn and not what they hold.

    Wilson's interval with the number of independent trials that the cases' spread is worth (Korn and Graubard 1998):
    nine found lesions of one case are less than nine. None for fewer than two cases, or nothing below.

    Args:
        above, below: of each case.
        most: trials at most, the number of lesions; None for a rate that is no count.
    """
    from scipy.stats import norm

    n, whole = len(above), float(below.sum())
    if n < 2 or whole <= 0:
        return None
    rate = float(above.sum() / whole)
    spread = n / (n - 1) * float(((above - rate * below) ** 2).sum()) / whole**2
    trials = rate * (1 - rate) / spread if spread > 0 else whole
    trials = min(trials, whole if most is None else most)
    z = float(norm.ppf(0.975))
    middle = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _studentised(values: Floats) -> tuple[Floats, Floats]:
    """Lower and upper bounds of each column's mean; equal where the column has no spread."""
    from scipy.stats import t

    n = len(values)
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    flat = error <= 1e-12 * np.maximum(1.0, np.abs(mean))
    scaled = (values - mean) / np.where(flat, 1.0, error)
    pivots = []
    for counts in _draws(n, SEED, RESAMPLES):
        means = counts @ scaled / n
        variances = np.maximum(counts @ scaled**2 / n - means**2, 0.0) / (n - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            pivots.append(np.where(variances > 1e-9, means / np.sqrt(variances), np.nan))
    pivot = np.concatenate(pivots)
    pivot[:, flat] = 0.0
    without_spread = np.isnan(pivot).mean(axis=0)
    low, high = np.nanquantile(pivot, (0.025, 0.975), axis=0)
    student = float(t.ppf(0.975, n - 1))
    few = (without_spread > _ALIKE) & ~flat
    low, high = np.where(few, np.minimum(low, -student), low), np.where(few, np.maximum(high, student), high)
    error = np.where(flat, 0.0, error)
    return mean - high * error, mean - low * error


def _draws(n: int, seed: int, resamples: int) -> Iterator[Floats]:
    """How often each of n cases is drawn: blocks of resamples x cases."""
    draw = np.random.default_rng(seed)
    step = max(1, _BLOCK // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        chosen = draw.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(chosen.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
