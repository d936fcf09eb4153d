from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.case import score_masks
from tests.evaluation.conftest import blob

SHAPE = (10, 20, 30)
SPACING = (2.0, 1.0, 0.5)


def test_volume_and_centre_by_hand() -> None:
    """500 voxels of 1 mm3 against 400: +0.1 mL, +25 %; two rows more: the centre moves by 1 mm."""
    truth = blob(SHAPE, (2, 3, 4), (5, 8, 10), 2)
    prediction = blob(SHAPE, (2, 3, 4), (5, 10, 10), 2)
    scores = score_masks(prediction, truth, SPACING, "all")
    assert scores["tumor_volume_error_ml"] == pytest.approx(0.1)
    assert scores["tumor_volume_error_percent"] == pytest.approx(25.0)
    assert scores["tumor_centre_distance_mm"] == pytest.approx(1.0)


def test_centre_distance_of_moved_masks_is_how_far_they_were_moved() -> None:
    truth, prediction = blob(SHAPE, (1, 2, 3), (3, 3, 3), 1), blob(SHAPE, (3, 5, 9), (3, 3, 3), 1)
    expected = math.hypot(2 * 2.0, 3 * 1.0, 6 * 0.5)
    assert score_masks(prediction, truth, SPACING, "all")["kidney_and_mass_centre_distance_mm"] == pytest.approx(
        expected
    )


def test_volume_error_of_empty_masks() -> None:
    """A percentage of nothing is undefined, unless nothing was predicted either."""
    labels, nothing = blob(SHAPE, (2, 3, 4), (5, 8, 10), 2), np.zeros(SHAPE, np.uint8)
    assert score_masks(nothing, nothing, SPACING, "all")["tumor_volume_error_percent"] == 0
    assert score_masks(nothing, labels, SPACING, "all")["tumor_volume_error_percent"] == -100
    empty_truth = score_masks(labels, nothing, SPACING, "all")
    assert math.isnan(empty_truth["tumor_volume_error_percent"])
    assert empty_truth["tumor_volume_error_ml"] == pytest.approx(0.4)
