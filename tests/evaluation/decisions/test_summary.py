from __future__ import annotations

import numpy as np
import pytest

from evaluation.decisions.summary import aggregate
from evaluation.kits import LESION_KEYS
from evaluation.measures.rates import lesion_rates
from evaluation.report import Issue, Row


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


def test_a_perfect_value_is_not_among_the_worst() -> None:
    assert not aggregate(rows("tumor_dice", 1.0, 1.0), ["tumor_dice"])["tumor_dice"].worst
    key = "tumor_hd95_mm"
    assert aggregate(rows(key, 0.0, 2.0), [key])[key].worst == [("case_00001", 2.0)]


def test_errors_of_both_signs_have_a_mean_of_zero_and_a_mean_size() -> None:
    key = "tumor_volume_error_percent"
    found = aggregate(rows(key, -50.0, 50.0), [key])[key]
    assert found.mean == 0.0
    assert found.absolute is not None
    assert (found.absolute.mean, found.absolute.median) == (50.0, 50.0)


def test_no_case_and_one_case() -> None:
    none = aggregate([], ["tumor_dice"])["tumor_dice"]
    assert (none.n, none.std, none.ci95, list(none.worst)) == (0, None, None, [])
    one = aggregate(rows("tumor_dice", 0.5), ["tumor_dice"])["tumor_dice"]
    assert (one.n, one.mean, one.std, one.ci95) == (1, 0.5, None, None)


def test_failed_cases_do_not_count() -> None:
    failed = Row("case_00009", error=Issue("case_00009", "VolumeError", "cut", 4))
    assert aggregate([*rows("tumor_dice", 0.5), failed], ["tumor_dice"])["tumor_dice"].n == 1


def test_lesion_rates_are_pooled_over_the_lesions_of_all_cases() -> None:
    """One case finds 1 of 4 (IoU 0.5), one 1 of 1 (IoU 0.9), both without a wrong one: 2 of 5, F1 4 / 7, SQ 0.7."""
    keys = LESION_KEYS
    blank = dict.fromkeys(keys, 0.0)
    first = Row("a", blank | {"lesion_truth": 4.0, "lesion_found": 1.0, "lesion_predicted": 1.0, "lesion_sq": 0.5})
    second = Row("b", blank | {"lesion_truth": 1.0, "lesion_found": 1.0, "lesion_predicted": 1.0, "lesion_sq": 0.9})
    found = aggregate([first, second], keys)
    pooled = {name: found[f"lesion_{name}"].pooled for name in ("sensitivity", "precision", "f1", "sq", "pq")}
    assert pooled == pytest.approx({"sensitivity": 0.4, "precision": 1.0, "f1": 4 / 7, "sq": 0.7, "pq": 2.8 / 7})
    assert found["lesion_f1_t1a"].pooled is None
    low, high = found["lesion_sensitivity"].pooled_ci95 or (1, 0)
    assert low < 0.4 < high


def test_lesion_rates_by_hand() -> None:
    rates = lesion_rates({"truth": 4, "found": 3, "predicted": 5, "iou": 2.4})
    assert rates == pytest.approx({"sensitivity": 0.75, "precision": 0.6, "f1": 6 / 9, "sq": 0.8, "pq": 4.8 / 9})
    nothing = lesion_rates({"truth": 0, "found": 0, "predicted": 2, "iou": 0.0})
    assert nothing == {"sensitivity": None, "precision": 0, "f1": 0, "sq": None, "pq": 0}
