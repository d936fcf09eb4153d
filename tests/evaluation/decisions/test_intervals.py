from __future__ import annotations

import numpy as np
import pytest

from evaluation.decisions.intervals import bootstrap_means, interval95, intervals95, pooled_interval95

NONE = (-np.inf, np.inf)


def test_the_interval_is_seeded_and_that_of_the_normal_theory_for_many_cases() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    low, high = interval95(values) or (0, 0)
    assert interval95(values) == (low, high)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)


def test_the_studentised_interval_of_three_values_by_hand() -> None:
    """Of 0, 1, 2 a resample with spread has a pivot of at most 2: (0, 0, 1) has (1/3 - 1) / (0.577 / sqrt 3) = -2.

    3 of 27 resamples have no spread, so that Student's t of 2 degrees, 4.303, is joined: 1 -+ 4.303 / sqrt(3).
    """
    half = 4.302653 / np.sqrt(3)
    assert interval95(np.array([0.0, 1.0, 2.0])) == pytest.approx((1 - half, 1 + half), abs=1e-5)
    assert interval95(np.array([0.0, 1.0, 2.0]), (0.0, 2.5)) == (0.0, 2.5)


def test_skewed_values_have_a_skewed_interval() -> None:
    """Where most cases are good and a few bad, the mean is more likely overestimated."""
    values = np.array([0.95, 0.94, 0.96, 0.93, 0.95, 0.97, 0.92, 0.94, 0.5, 0.3])
    low, high = interval95(values, (0.0, 1.0)) or (0, 0)
    assert values.mean() - low > 2 * (high - values.mean())


@pytest.mark.parametrize("values", [[], [0.5], [0.7, 0.7, 0.7]], ids=["none", "one", "equal"])
def test_no_interval_without_spread(values: list[float]) -> None:
    assert interval95(np.array(values)) is None


def test_columns_with_holes_are_those_without_the_cases() -> None:
    values = np.random.default_rng(2).random((12, 3))
    values[3, 1] = np.nan
    expected = [interval95(column[np.isfinite(column)]) for column in values.T]
    for found, alone in zip(intervals95(values, [NONE] * 3), expected, strict=True):
        assert found == pytest.approx(alone)


@pytest.mark.parametrize("n", [10, 30])
def test_intervals_cover_what_they_say_within_two_points(n: int) -> None:
    """Dice-like values; 600 repeats have a standard error of 0.9 points. `benchmarks/verdicts.py` has more."""
    draw = np.random.default_rng(3)
    true = 9 / 10.5
    values = draw.beta(9, 1.5, (n, 600))
    found = intervals95(values, [(0.0, 1.0)] * 600)
    covered = np.mean([low <= true <= high for low, high in filter(None, found)])
    assert 0.93 <= covered <= 0.97


def test_means_of_two_values_by_hand() -> None:
    """Resamples of (0, 1) have means 0, 0.5, 1 with 1/4, 1/2, 1/4."""
    means = bootstrap_means(np.array([0.0, 1.0]))
    assert [(means == value).mean() for value in (0, 0.5, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_columns_are_resampled_together() -> None:
    values = np.random.default_rng(2).random(10)
    both = bootstrap_means(np.stack((values, 1 - values), axis=1))
    assert both.sum(axis=1) == pytest.approx(1.0)
    assert both[:, 0] == pytest.approx(bootstrap_means(values))


def test_the_interval_of_a_pooled_rate_of_single_lesions_is_wilsons() -> None:
    """12 of 16 cases, one lesion each: a variance of 16/15 * 3 / 16^2 = 0.0125 is worth 0.1875 / 0.0125 = 15 trials.

    Wilson's middle is (0.75 + 0.1281) / 1.2561 = 0.6990, half of it 1.96 sqrt(0.0125 + 0.00427) / 1.2561 = 0.2021.
    """
    found = np.array([1.0] * 12 + [0.0] * 4)
    low, high = pooled_interval95(found, np.ones(16), 16.0) or (0, 0)
    assert (low, high) == pytest.approx((0.6990 - 0.2021, 0.6990 + 0.2021), abs=2e-4)


def test_nine_lesions_of_one_case_are_less_than_nine() -> None:
    together = pooled_interval95(np.array([9.0, 0.0, 1.0, 1.0]), np.array([9.0, 1.0, 1.0, 1.0]))
    apart = pooled_interval95(np.array([1.0] * 11 + [0.0]), np.ones(12))
    assert together is not None
    assert apart is not None
    assert together[0] < apart[0]


def test_all_found_is_no_certainty() -> None:
    low, high = pooled_interval95(np.ones(10), np.ones(10), 10.0) or (0, 0)
    assert high == pytest.approx(1.0)
    assert low == pytest.approx(1 / (1 + 1.959964**2 / 10))  # Wilson's of 10 of 10, 0.722


@pytest.mark.parametrize(("above", "below"), [([1.0], [1.0]), ([0.0, 0.0], [0.0, 0.0])])
def test_no_rate_no_interval(above: list[float], below: list[float]) -> None:
    assert pooled_interval95(np.array(above), np.array(below)) is None
