from __future__ import annotations

import pytest

from evaluation.decisions.summary import aggregate
from evaluation.decisions.thresholds import check_thresholds, read_thresholds
from evaluation.report import Report, Row
from kits_submit.errors import InputError, ThresholdError

KEYS = ("tumor_dice", "tumor_hd95_mm", "tumor_volume_error_ml", "lesion_truth")


def report() -> Report:
    """Means 0.75, 3 mm, 0 mL (sizes of 10 mL)."""
    rows = [Row("a", dict(zip(KEYS, (0.7, 2.0, 10.0, 1.0), strict=True)))]
    rows.append(Row("b", dict(zip(KEYS, (0.8, 4.0, -10.0, 1.0), strict=True))))
    return Report("all", KEYS, "", rows, aggregate(rows, KEYS), [])


@pytest.mark.parametrize("asked", ["tumor_dice=0.75", "tumor_hd95_mm=3", "tumor_volume_error_ml=10"])
def test_as_good_as_asked(asked: str) -> None:
    check_thresholds(report(), read_thresholds([asked], KEYS))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("tumor_dice=0.76", "tumor_dice 0.7500, wanted at least 0.76"),
        ("tumor_hd95_mm=2.9", "tumor_hd95_mm 3.0000, wanted at most 2.9"),
        ("tumor_volume_error_ml=9", "tumor_volume_error_ml 10.0000, wanted at most 9"),
    ],
)
def test_worse_than_asked(asked: str, message: str) -> None:
    with pytest.raises(ThresholdError, match=message) as caught:
        check_thresholds(report(), read_thresholds([asked], KEYS))
    assert caught.value.exit_code == 12


def test_an_undefined_mean_is_not_good_enough() -> None:
    rows = [Row("a", {"tumor_dice": float("nan")})]
    empty = Report("all", ("tumor_dice",), "", rows, aggregate(rows, ("tumor_dice",)), [])
    with pytest.raises(ThresholdError, match="tumor_dice nan"):
        check_thresholds(empty, {"tumor_dice": 0.1})


@pytest.mark.parametrize("asked", ["tumor_dice", "tumor_dice=", "tumor_dice=good", "tumour_dice=0.8", "lesion_truth=1"])
def test_what_cannot_be_asked(asked: str) -> None:
    with pytest.raises(InputError, match="--fail-under"):
        read_thresholds([asked], KEYS)
