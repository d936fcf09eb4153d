"""Two runs on the same cases: paired differences B - A, whether they could be chance, and where they are largest.

What is compared is how bad a value is: for a volume error its size, whichever its sign. Estimate, interval, p, counts
and verdict are all of that one difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.decisions.intervals import Floats, Interval, intervals95
from evaluation.decisions.tests import LEVEL, sign_flip_adjusted
from evaluation.kits import badness
from evaluation.report import Report, Row
from kits_submit.errors import InputError

MOST_CHANGED = 5
EQUAL = 1e-9  # a smaller difference is one of rounding


@dataclass(frozen=True)
class Change:
    """One key's paired differences B - A over the cases that both runs have a value for; of volume errors their sizes.

    - `difference`: mean. `median`: of the differences. `ci95`: of the mean, of this key alone; None
      where all differences are equal.
    - `p`: two-sided, by flipping signs. `p_adjusted`: for all keys of the comparison (`tests.sign_flip_adjusted`).
    - `better`, `worse`: cases in which B is better or worse than A.
    - `most_changed`: (case, A, B), largest difference first, with the sign that volume errors have.
    """

    n: int
    mean_a: float
    mean_b: float
    difference: float
    median: float
    ci95: Interval | None
    p: float
    p_adjusted: float
    better: int
    worse: int
    lower_is_better: bool
    most_changed: Sequence[tuple[str, float, float]]

    @property
    def verdict(self) -> str:
        """`B better` or `A better`, as the mean says; `-` unless adjusted p < 0.05 and the interval leaves out 0."""
        if self.p_adjusted >= LEVEL or (self.ci95 is not None and self.ci95[0] <= 0 <= self.ci95[1]):
            return "-"
        return "B better" if (self.difference < 0) == self.lower_is_better else "A better"

    @property
    def split(self) -> bool:
        """Whether mean and median of the differences point in opposite ways: many small gains, a few large losses."""
        return self.difference * self.median < 0


@dataclass(frozen=True)
class Comparison:
    """- `differences`: by case, then key, B - A as in `Change`; cases that failed in either run are left out."""

    protocol: str
    names: tuple[str, str]
    changes: Mapping[str, Change]
    differences: Mapping[str, Mapping[str, float]]
    left_out: Sequence[str]


def compare(a: Report, b: Report, names: tuple[str, str]) -> Comparison:
    """Pair the cases of two reports of one protocol.

    Raises:
        InputError: no case was scored in both.
    """
    rows_a, rows_b = ({row.case: row for row in report.scored} for report in (a, b))
    common = sorted(rows_a.keys() & rows_b.keys())
    if not common:
        raise InputError(
            "no case was scored in both runs", fix=f"compare runs of the same cases ({' and '.join(names)})"
        )
    of_a, of_b = (_table([rows[case] for case in common], a.keys) for rows in (rows_a, rows_b))
    of_a, of_b = (np.where(np.isnan(of_a + of_b), np.nan, table) for table in (of_a, of_b))
    differences = of_b - of_a
    differences[np.abs(differences) < EQUAL] = 0.0
    judged = np.array([badness(key) != 0 for key in a.keys])
    p, adjusted = np.ones(len(a.keys)), np.ones(len(a.keys))
    p[judged], adjusted[judged] = sign_flip_adjusted(differences[:, judged])
    limits = [(-1.0, 1.0) if badness(key) == -1 else (-np.inf, np.inf) for key in a.keys]
    intervals = intervals95(differences, limits)
    changes = {}
    for number, key in enumerate(a.keys):
        signed = [(case, rows_a[case].scores[key], rows_b[case].scores[key]) for case in common]
        columns = of_a[:, number], of_b[:, number], differences[:, number]
        tested = float(p[number]), float(adjusted[number])
        changes[key] = _change(key, signed, columns, intervals[number], tested)
    lines = zip(common, differences.tolist(), strict=True)
    by_case = {case: dict(zip(a.keys, line, strict=True)) for case, line in lines}
    left_out = sorted({row.case for report in (a, b) for row in report.rows} - set(common))
    return Comparison(a.protocol, names, changes, by_case, left_out)


def _table(rows: Sequence[Row], keys: Sequence[str]) -> Floats:
    """Cases x keys: the values, of volume errors their sizes."""
    return np.array(
        [[abs(row.scores[key]) if badness(key) == 2 else row.scores[key] for key in keys] for row in rows], np.float64
    )


def _change(
    key: str,
    signed: Sequence[tuple[str, float, float]],
    columns: tuple[Floats, Floats, Floats],
    ci95: Interval | None,
    tested: tuple[float, float],
) -> Change:
    known = np.isfinite(columns[2])
    of_a, of_b, differences = (column[known] for column in columns)
    lower_is_better = badness(key) > 0
    gains = -differences if lower_is_better else differences
    far = sorted(np.flatnonzero(known).tolist(), key=lambda place: -abs(columns[2][place]))
    return Change(
        n=int(known.sum()),
        mean_a=_mean(of_a),
        mean_b=_mean(of_b),
        difference=_mean(differences),
        median=float(np.median(differences)) if known.any() else float("nan"),
        ci95=ci95,
        p=tested[0],
        p_adjusted=tested[1],
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        lower_is_better=lower_is_better,
        most_changed=[signed[place] for place in far if columns[2][place] != 0][:MOST_CHANGED],
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
