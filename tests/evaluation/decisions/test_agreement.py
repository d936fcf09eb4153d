from __future__ import annotations

import numpy as np
import pytest

from evaluation.decisions.agreement import agree, agreement, concordance_of, total_confusion_ml
from evaluation.report import Row


def test_limits_and_concordance_by_hand() -> None:
    """Differences 2, -1, 2: mean 1, deviation sqrt 3. Moments by n: 200/3, 206/3, covariance 200/3, means 1 apart."""
    found = agree(np.array([[10.0, 12.0], [20.0, 19.0], [30.0, 32.0]]))
    assert (found.bias_ml, found.absolute_ml) == pytest.approx((1.0, 5 / 3))
    assert found.limits_ml == pytest.approx((1 - 1.96 * np.sqrt(3), 1 + 1.96 * np.sqrt(3)))
    assert found.concordance == pytest.approx(2 * 200 / (200 + 206 + 3))


def test_a_constant_shift_lowers_concordance_and_no_correlation() -> None:
    """Variances 2/3 and 2/3, covariance 2/3, 1 apart: 2 * 2/3 / (4/3 + 1) = 4/7."""
    assert agree(np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])).concordance == pytest.approx(4 / 7)


def test_the_interval_of_the_concordance_covers_as_it_says() -> None:
    draw = np.random.default_rng(4)
    true = 2 * 1.0 / (1 + 1.25 + 0.0)  # predicted = true + noise of a quarter of its variance
    covered = 0
    for _ in range(400):
        truth = draw.normal(0, 1, 40)
        _, found = concordance_of(truth, truth + draw.normal(0, 0.5, 40))
        low, high = found or (0, 0)
        covered += low <= true <= high
    assert 0.92 <= covered / 400 <= 0.975


def test_few_cases_and_no_spread() -> None:
    two = agree(np.array([[1.0, 2.0], [2.0, 3.0]]))
    assert (two.limits_ml, two.concordance) == (None, None)
    same = agree(np.ones((4, 2)))
    assert (same.limits_ml, same.concordance, same.bias_ml) == ((0.0, 0.0), None, 0.0)
    perfect = agree(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    assert (perfect.concordance, perfect.concordance_ci95) == (1.0, None)


def test_by_target_and_summed_labels() -> None:
    table = [[0.0, 1.0, 0.0, 0.0], [0.0, 2.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.25, 0.0]]
    rows = [Row(case, volumes_ml={"tumor": (1.0, 2.0)}, confusion_ml=table) for case in "ab"]
    assert agreement(rows)["tumor"].n == 2
    total = total_confusion_ml(rows)
    assert (total[1, 2], total[3, 2], total[0, 1]) == (1.0, 0.5, 2.0)
    assert total_confusion_ml([]) == {}
