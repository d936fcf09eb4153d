"""Do 95 % intervals cover 95 %, and how often is one of two equal runs called better? By simulation, no data needed.

Coverage: of the mean, by number of cases, of the percentile bootstrap, BCa and what `kits-eval` prints, of values that
look like Dice (beta), Dice with failures (a tenth of the cases fails), distances (lognormal) and differences (normal).
False alarms: comparisons of two runs of equal quality over all judged measures of `all`, correlated as measures of one
case are. Prints tables; writes build/bench/verdicts.json.

    python benchmarks/verdicts.py --repeats 2000 --comparisons 400
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Draw = np.random.Generator

ROOT = Path(__file__).resolve().parents[1]
CASES = (5, 10, 20, 60)
SHARES, LENGTHS = (0.0, 1.0), (0.0, float("inf"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000, help="samples of which the coverage is counted")
    parser.add_argument("--comparisons", type=int, default=400, help="comparisons of equal runs, a count of cases")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    result = {
        "coverage": coverage(options.repeats),
        "lesion_rates": lesion_rates(options.repeats),
        "false_alarms": false_alarms(options.comparisons),
    }
    out = ROOT / "build" / "bench" / "verdicts.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {out.relative_to(ROOT)}")
    return 0


def coverage(repeats: int) -> list[dict[str, Any]]:
    """In per cent, by shape of the values and number of cases."""
    from evaluation.decisions.intervals import intervals95

    print(f"{'values':<26}{'cases':>6}{'percentile':>12}{'BCa':>8}{'ours':>8}   (wanted: 93 to 97 from 10 cases on)")
    found = []
    for name, (sample, bounds) in shapes().items():
        draw = np.random.default_rng(1)
        true = float(sample(draw, (4_000_000,)).mean())
        for n in CASES:
            values = sample(draw, (n, repeats))
            ours = np.array([span or (np.nan, np.nan) for span in intervals95(values, [bounds] * repeats)]).T
            row: dict[str, Any] = {"values": name, "cases": n}
            for method, spans in (("percentile", percentile(values)), ("bca", bca(values)), ("ours", ours)):
                row[method] = 100.0 * float(((spans[0] <= true) & (true <= spans[1])).mean())
            print(f"{name:<26}{n:>6}{row['percentile']:>12.1f}{row['bca']:>8.1f}{row['ours']:>8.1f}")
            found.append(row)
    print()
    return found


def lesion_rates(repeats: int) -> list[dict[str, Any]]:
    """Coverage in per cent of pooled sensitivities: one lesion or more a case, found together or missed together."""
    from evaluation.decisions.intervals import pooled_interval95

    print(f"{'lesions found':<26}{'cases':>6}{'ours':>8}   (one lesion in most cases, up to five; cases differ)")
    found = []
    for true in (0.6, 0.9):
        for n in CASES:
            draw = np.random.default_rng(n)
            covered = 0
            for _ in range(repeats):
                lesions = 1.0 + np.minimum(draw.poisson(0.4, n), 4)
                ease = draw.beta(4 * true, 4 * (1 - true), n)
                hit = draw.binomial(lesions.astype(int), ease).astype(np.float64)
                low, high = pooled_interval95(hit, lesions, float(lesions.sum())) or (0.0, 0.0)
                covered += low <= true <= high
            found.append({"rate": true, "cases": n, "ours": 100 * covered / repeats})
            print(f"{f'{true:.0%}':<26}{n:>6}{found[-1]['ours']:>8.1f}")
    print()
    return found


def shapes() -> dict[str, tuple[Callable[[Draw, tuple[int, ...]], Floats], tuple[float, float]]]:
    """Each with what its mean cannot leave."""

    def failing(draw: Draw, shape: tuple[int, ...]) -> Floats:
        return np.where(draw.random(shape) < 0.1, draw.beta(1, 4, shape), draw.beta(12, 1.6, shape))

    return {
        "Dice (beta 9, 1.5)": (lambda draw, shape: draw.beta(9, 1.5, shape), SHARES),
        "Dice, wide (beta 4, 1)": (lambda draw, shape: draw.beta(4, 1, shape), SHARES),
        "Dice, a tenth fails": (failing, SHARES),
        "distance (lognormal 0.8)": (lambda draw, shape: draw.lognormal(1, 0.8, shape), LENGTHS),
        "difference (normal)": (lambda draw, shape: draw.normal(0, 1, shape), (-float("inf"), float("inf"))),
    }


def percentile(values: Floats) -> Floats:
    from evaluation.decisions.intervals import bootstrap_means

    spans: Floats = np.quantile(bootstrap_means(values, resamples=4000), (0.025, 0.975), axis=0)
    return spans


def bca(values: Floats) -> Floats:
    """Bias-corrected and accelerated (Efron 1987), for the mean."""
    from scipy.stats import norm

    from evaluation.decisions.intervals import bootstrap_means

    means = np.sort(bootstrap_means(values, resamples=4000), axis=0)
    centred = values - values.mean(axis=0)
    share = np.clip((means < values.mean(axis=0)).mean(axis=0), 1e-4, 1 - 1e-4)
    bias, skew = norm.ppf(share), (centred**3).sum(axis=0) / (6 * (centred**2).sum(axis=0) ** 1.5)
    spans = []
    for z in (-1.959964, 1.959964):
        level: Floats = np.asarray(norm.cdf(bias + (bias + z) / (1 - skew * (bias + z))), np.float64)
        place = np.clip((level * len(means)).astype(np.int64), 0, len(means) - 1)
        spans.append(means[place, np.arange(values.shape[1])])
    return np.array(spans)


def false_alarms(comparisons: int) -> list[dict[str, Any]]:
    """In per cent of comparisons, by number of cases: anything is called better, by our rule and without adjustment."""
    from evaluation.decisions.compare import compare
    from evaluation.decisions.tests import LEVEL

    print(f"{'equal runs':<26}{'cases':>6}{'unadjusted':>12}{'ours':>8}   (wanted: at most 5)")
    found = []
    for name, spreads in (("alike", (0.5, 0.5)), ("the second less steady", (0.4, 0.8))):
        for n in (6, 10, 15, 30, 60):
            draw = np.random.default_rng(n)
            raw = called = 0
            for _ in range(comparisons):
                changes = compare(*two_runs(draw, n, spreads), ("a", "b")).changes.values()
                raw += any(change.p < LEVEL for change in changes)
                called += any(change.verdict != "-" for change in changes)
            row = {"runs": name, "cases": n, "unadjusted": 100 * raw / comparisons, "ours": 100 * called / comparisons}
            print(f"{name:<26}{n:>6}{row['unadjusted']:>12.1f}{row['ours']:>8.1f}")
            found.append(row)
    print()
    return found


def two_runs(draw: Draw, cases: int, spreads: tuple[float, float]) -> tuple[Any, Any]:
    """Reports of equal means: a case's difficulty, a run's luck with each target of it, and noise of each key."""
    from evaluation.kits import PROTOCOLS, badness, target_of
    from evaluation.report import Report, Row

    keys = tuple(key for key in PROTOCOLS["all"].keys if badness(key) and not key.startswith("lesion_"))
    if spreads[0] != spreads[1]:  # then the sizes of volume errors do differ
        keys = tuple(key for key in keys if badness(key) != 2)
    targets = sorted({target_of(key) for key in keys})
    difficulty = draw.normal(0, 1, (cases, len(targets)))
    reports = []
    for spread in spreads:
        luck = difficulty + draw.normal(0, spread, (cases, len(targets)))
        rows = []
        for case in range(cases):
            scores = {}
            for key in keys:
                value = float(luck[case, targets.index(target_of(key))] + draw.normal(0, 0.3))
                scores[key] = 20 - 2 * value if badness(key) == 1 else value
            rows.append(Row(f"case_{case:05d}", scores))
        reports.append(Report("all", keys, "", rows, {}, []))
    return reports[0], reports[1]


if __name__ == "__main__":
    sys.exit(main())
