from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from evaluation.case import score_masks
from tests.evaluation import reference
from tests.evaluation.conftest import kidney_with_tumor, label_maps

MM = (1.0, 1.0, 1.0)


@given(label_maps())
def test_overlap_is_that_of_sets_of_voxels(maps: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = maps
    scores = score_masks(prediction, truth, MM, "paper")
    for name, labels in (("kidney", (1, 3)), ("tumor", (2,))):
        found = tuple(scores[f"{name}_{measure}"] for measure in ("dice", "recall", "precision"))
        assert found == pytest.approx(reference.overlap(prediction, truth, labels), abs=1e-12)


def test_hand_derived() -> None:
    """Truth K K K T T, prediction K K T T T: kidney 2 of 2 and 3, tumor 2 of 3 and 2."""
    truth = np.array([[[1, 1, 1, 2, 2]]], np.uint8)
    prediction = np.array([[[1, 1, 2, 2, 2]]], np.uint8)
    paper = score_masks(prediction, truth, MM, "paper")
    assert paper == pytest.approx(
        {
            "kidney_dice": 4 / 5, "kidney_recall": 2 / 3, "kidney_precision": 1.0,
            "tumor_dice": 4 / 5, "tumor_recall": 1.0, "tumor_precision": 2 / 3,
        }
    )  # fmt: skip
    kits19 = score_masks(prediction, truth, MM, "kits19")
    assert kits19 == pytest.approx({"tk_dice": 1.0, "tu_dice": 0.8, "composite": 0.9})


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [(False, False, 1.0), (True, False, 0.0), (False, True, 0.0), (True, True, 1.0)],
    ids=["both empty", "empty truth", "empty prediction", "none empty"],
)
@pytest.mark.parametrize("protocol", ["paper", "kits19", "kits23"])
def test_empty_masks(predicted: bool, true: bool, expected: float, protocol: str) -> None:
    labels, nothing = kidney_with_tumor(), np.zeros((6, 12, 12), np.uint8)
    scores = score_masks(labels if predicted else nothing, labels if true else nothing, MM, protocol)
    assert set(scores.values()) == {expected}


def test_a_missing_prediction_is_all_background() -> None:
    labels = kidney_with_tumor()
    assert score_masks(None, labels, MM, "kits23") == score_masks(np.zeros_like(labels), labels, MM, "kits23")


def test_a_cyst_is_kidney_in_kits19_and_mass_in_kits23() -> None:
    truth, prediction = kidney_with_tumor(), kidney_with_tumor()
    truth[1, 2, 2] = 3
    assert score_masks(prediction, truth, MM, "kits19") == {"tk_dice": 1.0, "tu_dice": 1.0, "composite": 1.0}
    assert score_masks(prediction, truth, MM, "kits23")["mass_dice"] == pytest.approx(2 * 18 / (18 + 19))
