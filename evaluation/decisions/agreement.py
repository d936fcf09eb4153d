"""How well predicted volumes agree with true ones: Bland and Altman's limits, Lin's concordance. Knows numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.decisions.intervals import Floats, Interval, interval95
from evaluation.report import Row


@dataclass(frozen=True)
class Agreement:
    """Predicted volumes of one target against the true ones, over `n` cases, in mL.

    - `bias_ml`: mean of predicted - true. `absolute_ml`: mean size of the difference.
    - `limits_ml`: bias +- 1.96 standard deviations, between which 95 % of differences lie if they are normal (Bland and
      Altman 1986). None for fewer than three cases.
    - `concordance`: Lin's coefficient (1989): 1 if every predicted volume is the true one. None without spread.
    """

    n: int
    truth_ml: float
    predicted_ml: float
    bias_ml: float
    bias_ci95: Interval | None
    absolute_ml: float
    limits_ml: Interval | None
    concordance: float | None
    concordance_ci95: Interval | None


def agreement(rows: Sequence[Row]) -> dict[str, Agreement]:
    """By target, over the scored cases."""
    volumes: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for target, pair in row.volumes_ml.items():
            volumes.setdefault(target, []).append(pair)
    return {target: agree(np.array(pairs, np.float64)) for target, pairs in volumes.items()}


def agree(volumes: Floats) -> Agreement:
    """Of cases x (true, predicted).

    Worked: true 10, 20, 30, predicted 12, 19, 32: differences 2, -1, 2, bias 1, deviation sqrt(3), limits 1 -+ 3.39;
    concordance 2 * 66.67 / (66.67 + 68.67 + 1) = 0.978 of moments divided by n.
    """
    truth, predicted = volumes[:, 0], volumes[:, 1]
    differences = predicted - truth
    n, bias = len(volumes), float(differences.mean())
    half = 1.96 * float(differences.std(ddof=1)) if n > 2 else None
    concordance, ci95 = concordance_of(truth, predicted)
    return Agreement(
        n=n,
        truth_ml=float(truth.mean()),
        predicted_ml=float(predicted.mean()),
        bias_ml=bias,
        bias_ci95=interval95(differences),
        absolute_ml=float(np.abs(differences).mean()),
        limits_ml=None if half is None else (bias - half, bias + half),
        concordance=concordance,
        concordance_ci95=ci95,
    )


def concordance_of(truth: Floats, predicted: Floats) -> tuple[float | None, Interval | None]:
    """Lin's coefficient, its interval by his variance of its Fisher z."""
    n = len(truth)
    both = float(((truth - truth.mean()) * (predicted - predicted.mean())).mean())
    spreads = float(truth.var()), float(predicted.var())
    apart = float(predicted.mean() - truth.mean())
    whole = sum(spreads) + apart**2
    if n < 3 or whole == 0:
        return None, None
    c = 2 * both / whole
    product = float(np.sqrt(spreads[0] * spreads[1]))
    r = both / product if product else 0.0
    if abs(c) >= 1 - 1e-12 or abs(r) < 1e-12:
        return c, None
    u2 = apart**2 / product
    variance = (1 - r**2) * c**2 / ((1 - c**2) * r**2)
    variance += 2 * c**3 * (1 - c) * u2 / (r * (1 - c**2) ** 2) - c**4 * u2**2 / (2 * r**2 * (1 - c**2) ** 2)
    half = 1.96 * float(np.sqrt(max(variance, 0.0) / (n - 2)))
    return c, (float(np.tanh(np.arctanh(c) - half)), float(np.tanh(np.arctanh(c) + half)))


def total_confusion_ml(rows: Sequence[Row]) -> Mapping[tuple[int, int], float]:
    """By (true label, predicted label), summed over the cases."""
    total = np.sum([row.confusion_ml for row in rows if row.confusion_ml], axis=0)
    return {(true, ours): float(total[true][ours]) for true in range(4) for ours in range(4)} if np.ndim(total) else {}
