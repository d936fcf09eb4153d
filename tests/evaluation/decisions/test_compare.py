"""Verdicts whose right answer follows by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.decisions.compare import Change, compare
from evaluation.decisions.summary import aggregate
from evaluation.decisions.tests import LEVEL, sign_flip_adjusted
from evaluation.report import Report, Row
from evaluation.tables.comparison import render_comparison
from kits_submit.errors import InputError
from tests.evaluation.conftest import text_of


def report(**columns: list[float]) -> Report:
    """A run of these keys, a case a value."""
    rows = [
        Row(f"case_{number:05d}", dict(zip(columns, values, strict=True)))
        for number, values in enumerate(zip(*columns.values(), strict=True))
    ]
    return Report("all", tuple(columns), "", rows, aggregate(rows, tuple(columns)), [])


def change(key: str, a: list[float], b: list[float]) -> Change:
    return compare(report(**{key: a}), report(**{key: b}), ("a", "b")).changes[key]


def test_errors_of_the_same_size_and_opposite_signs_are_equal() -> None:
    found = change("tumor_volume_error_percent", [12.5] * 10, [-12.5] * 10)
    assert (found.difference, found.p, found.better, found.worse, found.verdict) == (0.0, 1.0, 0, 0, "-")
    assert (found.mean_a, found.mean_b) == (12.5, 12.5)


def test_a_hundred_times_smaller_errors_of_either_sign_are_better() -> None:
    """Ten mL in size against 0.1 mL, signs in turn: all twenty agree, so that p is about 2 / 2^20."""
    sizes = [10.0 + number / 100 for number in range(20)]
    a = [size * (-1) ** number for number, size in enumerate(sizes)]
    found = change("tumor_volume_error_ml", a, [value / 100 for value in a])
    assert (found.better, found.worse) == (20, 0)
    assert found.p < 0.001
    assert found.ci95 is not None
    assert found.ci95[0] < found.difference < found.ci95[1] < 0
    assert found.verdict == "B better"


def test_the_verdict_follows_the_mean_that_the_interval_is_of() -> None:
    """52 cases +0.002 and 8 cases -0.5: the mean is -0.065, which only 2 of the 2^8 signs of the eight reach."""
    gains = [0.002] * 52 + [-0.5] * 8
    a = [0.8 - number / 1000 for number in range(60)]
    found = change("tumor_dice", a, [value + gain for value, gain in zip(a, gains, strict=True)])
    assert found.difference == pytest.approx((52 * 0.002 - 8 * 0.5) / 60)
    assert found.median == pytest.approx(0.002)
    assert found.ci95 is not None
    assert found.ci95[1] < 0
    assert found.p == pytest.approx(2 / 256, abs=0.003)
    assert found.verdict == "A better"
    assert found.split


def test_where_mean_and_median_disagree_the_table_says_so() -> None:
    gains = [0.002] * 52 + [-0.5] * 8
    a = [0.8 - number / 1000 for number in range(60)]
    runs = report(tumor_dice=a), report(tumor_dice=[value + gain for value, gain in zip(a, gains, strict=True)])
    text = " ".join(text_of(render_comparison(compare(*runs, ("a", "b")))).split())
    assert "A better*" in text
    assert "tumor Dice: the mean says A, the median B (B better in 52, worse in 8)" in text


@pytest.mark.parametrize(
    ("key", "better", "worse"),
    [("tumor_dice", 0.9, 0.6), ("tumor_hd95_mm", 2.0, 5.0), ("tumor_volume_error_ml", -0.5, 8.0)],
)
def test_the_better_run_has_the_verdict_whichever_way_a_key_counts(key: str, better: float, worse: float) -> None:
    spread = np.linspace(0, 0.05, 12)
    good, bad = (better + spread).tolist(), (worse + spread[::-1]).tolist()
    assert change(key, bad, good).verdict == "B better"
    assert change(key, good, bad).verdict == "A better"
    assert change(key, good, good).verdict == "-"


def test_rounding_is_no_difference() -> None:
    found = change("tumor_dice", [0.1 + 0.2] * 8, [0.3] * 8)
    assert (found.better, found.worse, found.difference) == (0, 0, 0.0)


def test_five_cases_cannot_decide_and_six_can() -> None:
    """2 / 2^5 is 0.0625, 2 / 2^6 is 0.03125."""
    steps = [0.1, 0.11, 0.12, 0.13, 0.14, 0.15]
    five, six = (change("tumor_dice", [0.5] * n, [0.5 + step for step in steps[:n]]) for n in (5, 6))
    assert (five.p, five.verdict) == (0.0625, "-")
    assert (six.p, six.verdict) == (0.03125, "B better")


def test_of_many_measures_of_equal_runs_nothing_is_better() -> None:
    """Of 200 comparisons of equals over 41 measures about 10 may say anything, not 66; 20 have a chance of 0.3 %."""
    draw = np.random.default_rng(7)
    called = 0
    for _ in range(200):
        shared = draw.normal(0, 0.5, (10, 3)).repeat(14, axis=1)[:, :41]
        _, adjusted = sign_flip_adjusted(shared + draw.normal(0, 0.5, (10, 41)))
        called += adjusted.min() < LEVEL
    assert called <= 19


def test_undefined_values_are_left_out_of_their_key_alone() -> None:
    a = report(tumor_dice=[0.5, 0.6, 0.7], tumor_volume_error_percent=[1.0, float("nan"), 3.0])
    b = report(tumor_dice=[0.6, 0.7, 0.8], tumor_volume_error_percent=[2.0, 2.0, 5.0])
    found = compare(a, b, ("a", "b")).changes
    assert (found["tumor_dice"].n, found["tumor_volume_error_percent"].n) == (3, 2)
    assert found["tumor_volume_error_percent"].difference == 1.5


def test_runs_without_a_common_case() -> None:
    empty = Report("all", ("tumor_dice",), "", [], aggregate([], ("tumor_dice",)), [])
    with pytest.raises(InputError, match="no case was scored in both runs"):
        compare(empty, report(tumor_dice=[0.5]), ("a", "b"))
