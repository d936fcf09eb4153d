from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.decisions.tests import between_groups, holm, sign_flip, sign_flip_adjusted


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8).filter(any))
def test_flipped_signs_are_all_signs_by_hand(values: list[int]) -> None:
    patterns = itertools.product((1, -1), repeat=len(values))
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in patterns]
    expected = np.mean([total >= abs(sum(values)) for total in sums])
    p, adjusted = sign_flip_adjusted(np.array(values, float)[:, None])
    assert sign_flip(np.array(values, float)[:, None]) == pytest.approx(expected)
    assert p[0] == pytest.approx(expected)
    assert adjusted[0] == pytest.approx(expected)  # of one column there is nothing to adjust for


def test_adjusted_p_by_hand() -> None:
    """1 1 1 and 1 -1 0: sums 3, 1, 1, 1 and 0, 2, 2, 0 of the four patterns up to a sign.

    p of the patterns are 1/4, 1, 1, 1 and 1, 1/2, 1/2, 1, the smaller 1/4, 1/2, 1/2, 1. Observed is the first pattern.
    """
    p, adjusted = sign_flip_adjusted(np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]]))
    assert p.tolist() == [0.25, 1.0]
    assert adjusted.tolist() == [0.25, 1.0]


def test_both_columns_at_their_farthest_by_hand() -> None:
    """1 1 1 and 1 1 0: sums of + + + are 3 and 2, of + + - 1 and 2: the second is reached by two of four patterns."""
    p, adjusted = sign_flip_adjusted(np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    assert p.tolist() == [0.25, 0.5]
    assert adjusted.tolist() == [0.25, 0.5]


def test_equal_columns_cost_nothing_and_independent_ones_do() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(0.5, 1, (30, 1))
    same = sign_flip_adjusted(np.repeat(values, 20, axis=1))
    assert same[1] == pytest.approx(same[0])
    others = sign_flip_adjusted(np.concatenate((values, draw.normal(0, 1, (30, 19))), axis=1))
    assert others[1][0] > 5 * others[0][0]


def test_a_column_with_one_large_difference_among_many_is_judged_by_its_own_scale() -> None:
    """Fourteen cases all better, one by a hundred times: no pattern is farther, whatever the other columns do."""
    draw = np.random.default_rng(5)
    heavy = np.array([1.0 + number / 100 for number in range(13)] + [100.0])
    p, adjusted = sign_flip_adjusted(np.concatenate((heavy[:, None], draw.normal(0, 1, (14, 30))), axis=1))
    assert p[0] < 0.001
    assert adjusted[0] < 0.02


def test_nothing_differs() -> None:
    p, adjusted = sign_flip_adjusted(np.zeros((5, 3)))
    assert p.tolist() == adjusted.tolist() == [1.0, 1.0, 1.0]


def test_a_case_without_a_value_does_not_count() -> None:
    values = np.array([[1.0], [2.0], [np.nan], [3.0]])
    assert sign_flip(values) == sign_flip(values[np.isfinite(values[:, 0])])


def test_many_cases_are_sampled_and_seeded() -> None:
    values = np.random.default_rng(1).normal(0.2, 1, (40, 2))
    assert sign_flip(values).tolist() == sign_flip(values).tolist()
    z = values.mean(axis=0) / np.sqrt((values**2).mean(axis=0) / 40)
    from scipy.stats import norm

    assert sign_flip(values) == pytest.approx(2 * norm.sf(np.abs(z)), abs=0.02)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.zeros(0)).tolist() == []


def test_groups_by_hand() -> None:
    """1 2 | 5 6: of the six ways to deal two of four, two are as far apart: 1/3."""
    values = np.array([[1.0], [2.0], [5.0], [6.0]])
    assert between_groups(values, [0, 0, 1, 1])[0] == pytest.approx(1 / 3, abs=0.02)
    assert between_groups(np.ones((4, 1)), [0, 0, 1, 1])[0] == 1.0


def test_groups_that_cannot_be_tested() -> None:
    values = np.array([[1.0], [2.0], [np.nan]])
    assert np.isnan(between_groups(values, [0, 0, 1])).all()
    assert np.isnan(between_groups(values, [0, 1, 2])).all()
