from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.decisions.statistics import (
    aggregate,
    bootstrap_means,
    competition_ranks,
    interval95,
    kits_ranks,
    lesion_rates,
    wilcoxon_p,
)
from evaluation.report import Row


def rows(key: str, *values: float) -> list[Row]:
    return [Row(f"case_{number:05d}", {key: value}) for number, value in enumerate(values)]


def test_a_summary_by_hand() -> None:
    found = aggregate(rows("tumor_dice", 0.9, 0.5, float("nan"), 0.7, 0.1, 0.8, 0.6, 0.9), ["tumor_dice"])["tumor_dice"]
    assert (found.n, found.undefined) == (7, 1)
    assert found.mean == pytest.approx(4.5 / 7)
    assert found.median == pytest.approx(0.7)
    assert found.std == pytest.approx(np.std([0.9, 0.5, 0.7, 0.1, 0.8, 0.6, 0.9], ddof=1))
    assert [case[-1] for case, _ in found.worst] == ["4", "1", "6", "3", "5"]


def test_the_worst_of_a_distance_is_the_highest_and_of_a_volume_error_the_farthest_from_zero() -> None:
    assert aggregate(rows("tumor_hd95_mm", 1.0, 9.0), ["tumor_hd95_mm"])["tumor_hd95_mm"].worst[0][1] == 9.0
    key = "tumor_volume_error_ml"
    assert aggregate(rows(key, 3.0, -8.0, 5.0), [key])[key].worst[0][1] == -8.0
    assert not aggregate(rows("lesion_truth", 1.0), ["lesion_truth"])["lesion_truth"].worst


def test_no_case_and_one_case() -> None:
    none = aggregate([], ["tumor_dice"])["tumor_dice"]
    assert (none.n, none.std, none.ci95, list(none.worst)) == (0, None, None, [])
    one = aggregate(rows("tumor_dice", 0.5), ["tumor_dice"])["tumor_dice"]
    assert (one.n, one.mean, one.std, one.ci95) == (1, 0.5, None, None)


def test_failed_cases_do_not_count() -> None:
    from evaluation.report import Issue

    failed = Row("case_00009", error=Issue("case_00009", "VolumeError", "cut", 4))
    assert aggregate([*rows("tumor_dice", 0.5), failed], ["tumor_dice"])["tumor_dice"].n == 1


def test_the_interval_is_seeded_and_that_of_the_normal_theory_for_many_cases() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    low, high = interval95(values) or (0, 0)
    assert interval95(values) == (low, high)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)


def test_the_interval_of_two_values_by_hand() -> None:
    """Resamples of (0, 1) have means 0, 0.5, 1 with 1/4, 1/2, 1/4."""
    means = bootstrap_means(np.array([0.0, 1.0]))
    assert [(means == value).mean() for value in (0, 0.5, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    assert interval95(np.array([0.0, 1.0])) == (0.0, 1.0)


def test_columns_are_resampled_together() -> None:
    values = np.random.default_rng(2).random(10)
    both = bootstrap_means(np.stack((values, 1 - values), axis=1))
    assert both.sum(axis=1) == pytest.approx(1.0)
    assert both[:, 0] == pytest.approx(bootstrap_means(values))


@settings(deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=7, unique_by=abs).filter(any))
def test_wilcoxon_is_that_of_all_signs_by_hand(values: list[int]) -> None:
    """No ties: of all 2^n signs of the ranks, the share whose rank sum is at least as far from its middle."""
    changed = [value for value in values if value]
    ranks = [1 + sum(abs(other) < abs(value) for other in changed) for value in changed]
    middle = sum(ranks) / 2
    far = abs(sum(rank for rank, value in zip(ranks, changed, strict=True) if value > 0) - middle)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    expected = np.mean([abs(total - middle) >= far for total in sums])
    assert wilcoxon_p(np.array(values, float)) == pytest.approx(expected, abs=1e-9)


def test_wilcoxon_without_a_change() -> None:
    assert wilcoxon_p(np.zeros(4)) == 1.0


def test_ranks_by_hand() -> None:
    assert competition_ranks(np.array([0.8, 0.9, 0.7, 0.8])).tolist() == [2, 1, 4, 2]


def test_the_kits_rank_by_hand() -> None:
    """Dice ranks 1 2 3, SD ranks 2 1 3: the first two tie at 1.5 and tumor Dice puts the second first."""
    dice, sd, tumor = np.array([0.9, 0.8, 0.7]), np.array([0.6, 0.7, 0.5]), np.array([0.4, 0.5, 0.9])
    assert kits_ranks(dice, sd, tumor).tolist() == [2, 1, 3]
    assert kits_ranks(dice, sd, np.zeros(3)).tolist() == [1, 1, 3]
    assert kits_ranks(np.stack([dice, dice[::-1]]), np.stack([sd, sd]), tumor).tolist() == [[2, 1, 3], [3, 1, 2]]


def test_lesion_rates_by_hand() -> None:
    rates = lesion_rates({"truth": 4, "found": 3, "predicted": 5, "right": 3})
    assert rates == pytest.approx({"sensitivity": 0.75, "precision": 0.6, "f1": 6 / 9})
    assert lesion_rates({"truth": 0, "found": 0, "predicted": 2, "right": 0}) == {
        "sensitivity": None,
        "precision": 0,
        "f1": 0,
    }
