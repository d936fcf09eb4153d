"""A summary of each key over the cases. Knows rows and keys, no masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from evaluation.decisions.intervals import Floats, Interval, intervals95, pooled_interval95
from evaluation.kits import LESION_COUNTS, LESION_RATES, badness, bounds_of, how_bad, is_perfect, target_of
from evaluation.measures.rates import lesion_rates
from evaluation.report import Row, Summary

WORST = 5


def aggregate(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, Summary]:
    """A summary of every key over the cases that have a value for it."""
    scored = [row for row in rows if row.error is None]
    table = np.array([[row.scores[key] for key in keys] for row in scored], np.float64).reshape(len(scored), len(keys))
    of_error = [number for number, key in enumerate(keys) if badness(key) == 2]
    columns = np.concatenate((table, np.abs(table[:, of_error])), axis=1)
    bounds = [bounds_of(key) for key in keys] + [(0.0, float("inf"))] * len(of_error)
    found = intervals95(columns, bounds)
    summaries = {}
    for number, key in enumerate(keys):
        summary = _summary(key, scored, table[:, number], found[number])
        if number in of_error:
            place = len(keys) + of_error.index(number)
            absolute = replace(_summary(key, scored, columns[:, place], found[place]), worst=summary.worst)
            summary = replace(summary, absolute=absolute)
        summaries[key] = summary
    return summaries


def _summary(key: str, rows: Sequence[Row], column: Floats, ci95: Interval | None) -> Summary:
    named = [(row.case, value) for row, value in zip(rows, column.tolist(), strict=True) if not np.isnan(value)]
    values = column[~np.isnan(column)]
    imperfect = [item for item in named if badness(key) and not is_perfect(key, item[1])]
    empties = [row.empty.get(target_of(key), "") for row in rows]
    pooled, pooled_ci95 = _pooled(key, rows)
    return Summary(
        n=len(values),
        undefined=len(rows) - len(values),
        mean=float(values.mean()) if len(values) else float("nan"),
        median=float(np.median(values)) if len(values) else float("nan"),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        ci95=ci95,
        worst=sorted(imperfect, key=lambda item: -how_bad(key, item[1]))[:WORST],
        empty={which: empties.count(which) for which in ("both", "prediction", "truth")},
        pooled=pooled,
        pooled_ci95=pooled_ci95,
    )


def _pooled(key: str, rows: Sequence[Row]) -> tuple[float | None, Interval | None]:
    """A lesion rate over all lesions of all cases, and its interval; None for other keys and where there are none."""
    parts = key.split("_")
    if parts[0] != "lesion" or parts[1] not in LESION_RATES:
        return None, None
    counts = _lesion_counts(f"_{parts[2]}" if len(parts) > 2 else "", rows)
    rate = lesion_rates({name: float(column.sum()) for name, column in counts.items()})[parts[1]]
    both = counts["truth"] + counts["predicted"]
    above, below, trials = {
        "sensitivity": (counts["found"], counts["truth"], 1.0),
        "precision": (counts["found"], counts["predicted"], 1.0),
        "f1": (2 * counts["found"], both, 0.5),
        "sq": (counts["iou"], counts["found"], None),
        "pq": (2 * counts["iou"], both, None),
    }[parts[1]]
    return rate, pooled_interval95(above, below, None if trials is None else trials * float(below.sum()))


def _lesion_counts(suffix: str, rows: Sequence[Row]) -> Mapping[str, Floats]:
    counts = {
        name: np.array([row.scores[f"lesion_{name}{suffix}"] for row in rows], np.float64) for name in LESION_COUNTS
    }
    sq = np.array([row.scores[f"lesion_sq{suffix}"] for row in rows], np.float64)
    return counts | {"iou": np.nan_to_num(sq, nan=0.0) * counts["found"]}
