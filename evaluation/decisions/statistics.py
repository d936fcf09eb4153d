"""Means, bootstrap intervals over cases, paired tests and the KiTS rank. Knows keys and numbers, no masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evaluation.kits import badness, how_bad, target_of
from evaluation.report import Row, Summary

Floats = npt.NDArray[np.float64]

SEED = 20190101  # fixed, so that the same rows give the same interval
RESAMPLES = 10_000
WORST = 5
_LESION_COUNTS = ("truth", "found", "predicted", "right")


def aggregate(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, Summary]:
    """A summary of every key over the cases that have a value for it."""
    scored = [row for row in rows if row.error is None]
    return {key: _summary(key, scored) for key in keys}


def bootstrap_means(values: Floats, *, seed: int = SEED, resamples: int = RESAMPLES) -> Floats:
    """Means of resampled cases: `values` is cases, or cases x columns resampled together; one row a resample.

    Resamples of the same number of cases draw the same cases.
    """
    draw = np.random.default_rng(seed)
    n = len(values)
    means = np.empty((resamples, *values.shape[1:]))
    step = max(1, 2_000_000 // max(1, values.size))
    for start in range(0, resamples, step):
        chosen = draw.integers(0, n, (min(step, resamples - start), n))
        means[start : start + step] = values[chosen].mean(axis=1)
    return means


def interval95(values: Floats) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the mean over cases; None for fewer than two."""
    if len(values) < 2:
        return None
    low, high = np.quantile(bootstrap_means(values), (0.025, 0.975))
    return float(low), float(high)


def wilcoxon_p(differences: Floats) -> float:
    """Two-sided Wilcoxon signed-rank p of paired differences, zeros left out; 1 where all are zero."""
    from scipy.stats import wilcoxon

    changed = differences[differences != 0]
    return float(wilcoxon(changed).pvalue) if len(changed) else 1.0


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


def _summary(key: str, rows: Sequence[Row]) -> Summary:
    named = [(row.case, row.scores[key]) for row in rows if not np.isnan(row.scores[key])]
    values = np.array([value for _, value in named])
    worst = sorted(named, key=lambda item: -how_bad(key, item[1]))[:WORST] if badness(key) else []
    empties = [row.empty.get(target_of(key), "") for row in rows]
    return Summary(
        n=len(values),
        undefined=len(rows) - len(values),
        mean=float(values.mean()) if len(values) else float("nan"),
        median=float(np.median(values)) if len(values) else float("nan"),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        ci95=interval95(values),
        worst=worst,
        empty={which: empties.count(which) for which in ("both", "prediction", "truth")},
        pooled=_pooled(key, rows),
    )


def _pooled(key: str, rows: Sequence[Row]) -> float | None:
    """A lesion rate over all lesions of all cases; None for other keys and where there are no lesions."""
    parts = key.split("_")
    if parts[0] != "lesion" or parts[1] not in ("sensitivity", "precision", "f1"):
        return None
    suffix = f"_{parts[2]}" if len(parts) > 2 else ""
    totals = {name: sum(row.scores[f"lesion_{name}{suffix}"] for row in rows) for name in _LESION_COUNTS}
    rates = lesion_rates(totals)
    return rates[parts[1]]


def lesion_rates(counts: Mapping[str, float]) -> dict[str, float | None]:
    """Sensitivity, precision and F1 from counts of lesions; None where there is nothing to divide by.

    - `truth`, `found`: true lesions, and those matched. `predicted`, `right`: predicted ones, and those matched.
    """
    truth, predicted = counts["truth"], counts["predicted"]
    return {
        "sensitivity": counts["found"] / truth if truth else None,
        "precision": counts["right"] / predicted if predicted else None,
        "f1": (counts["found"] + counts["right"]) / (truth + predicted) if truth + predicted else None,
    }
