from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import evaluation.measures.boxes
from evaluation.masks.pair import MaskPair
from evaluation.measures.boxes import foreground_boxes, tiles
from evaluation.measures.lesions import MIN_LESION_ML, Rules, find_lesions, largest_diameter_mm, lesion_scores
from evaluation.measures.runs import components, runs_of
from evaluation.report import Lesion
from tests.evaluation import reference
from tests.evaluation.conftest import SPACINGS, blob, label_maps

SHAPE = (40, 40, 200)
MM = (1.0, 1.0, 1.0)


def scores_of(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return lesion_scores(lesions_of(prediction, truth))


def lesions_of(prediction: np.ndarray, truth: np.ndarray, rules: Rules | None = None) -> list[Lesion]:
    pair = MaskPair.of(prediction, truth, MM)
    return find_lesions(pair, foreground_boxes(pair), rules or Rules())


def diameter_of(mask: np.ndarray, spacing: tuple[float, float, float]) -> float:
    whole = tuple((0, n) for n in mask.shape)
    return largest_diameter_mm(runs_of(mask.astype(np.uint8), [whole], 1), spacing)


def tumor(x: int, length: int) -> np.ndarray:
    """A rod of 5 x 5 x length mm: the centres of its ends are sqrt(4^2 + 4^2 + (length - 1)^2) mm apart."""
    return blob(SHAPE, (10, 10, x), (5, 5, length), 2)


def test_one_found_one_missed_one_wrong() -> None:
    """Truth rods of 10 and 60 mm; the first is found, the second missed, a third of 90 mm is not there."""
    truth = np.maximum(tumor(0, 10), tumor(20, 60))
    prediction = np.maximum(tumor(1, 10), tumor(100, 90))
    scores = scores_of(prediction, truth)
    assert scores["lesion_sensitivity"] == 0.5
    assert scores["lesion_precision"] == 0.5
    assert scores["lesion_f1"] == 0.5
    assert [scores[f"lesion_truth_{size}"] for size in ("t1a", "t1b", "t2")] == [1, 1, 0]
    assert [scores[f"lesion_predicted_{size}"] for size in ("t1a", "t1b", "t2")] == [1, 0, 1]
    assert [scores[f"lesion_sensitivity_{size}"] for size in ("t1a", "t1b")] == [1.0, 0.0]
    assert math.isnan(scores["lesion_sensitivity_t2"])
    assert scores["lesion_precision_t2"] == 0.0


def test_a_tumor_predicted_in_two_parts_is_found_once() -> None:
    scores = scores_of(np.maximum(tumor(0, 25), tumor(30, 10)), tumor(0, 40))
    assert (scores["lesion_found"], scores["lesion_predicted"]) == (1, 2)


def test_a_slight_overlap_is_no_match() -> None:
    """5 of 40 + 40 - 5 slices shared: an IoU of 0.067."""
    assert scores_of(tumor(35, 40), tumor(0, 40))["lesion_found"] == 0


def test_fragments_are_neither_to_be_found_nor_wrong() -> None:
    fragment = blob(SHAPE, (30, 30, 150), (3, 3, 3), 2)
    assert MIN_LESION_ML > 27 / 1000
    for prediction, truth in (
        (tumor(0, 10), np.maximum(tumor(0, 10), fragment)),
        (np.maximum(tumor(0, 10), fragment), tumor(0, 10)),
    ):
        scores = scores_of(prediction, truth)
        assert scores["lesion_truth"] == scores["lesion_predicted"] == scores["lesion_f1"] == 1


@pytest.mark.parametrize(
    ("predicted", "true", "sensitivity", "precision"),
    [(False, False, None, None), (True, False, None, 0.0), (False, True, 0.0, None)],
    ids=["both empty", "empty truth", "empty prediction"],
)
def test_empty_masks(predicted: bool, true: bool, sensitivity: float | None, precision: float | None) -> None:
    nothing = np.zeros(SHAPE, np.uint8)
    scores = scores_of(tumor(0, 10) if predicted else nothing, tumor(0, 10) if true else nothing)
    for rate, expected in (("sensitivity", sensitivity), ("precision", precision)):
        found = scores[f"lesion_{rate}"]
        assert math.isnan(found) if expected is None else found == expected
    assert math.isnan(scores["lesion_f1"]) == (not predicted and not true)


def test_a_ball_of_four_centimetres_is_t1a() -> None:
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    assert diameter_of(z**2 + y**2 + x**2 <= 400, MM) == pytest.approx(40.0)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)).filter(np.any), st.sampled_from(SPACINGS)
)
def test_the_diameter_is_that_of_all_pairs(mask: np.ndarray, spacing: tuple[float, float, float]) -> None:
    assert diameter_of(mask, spacing) == pytest.approx(reference.diameter(mask, spacing), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(label_maps(2), st.integers(1, 40))
def test_components_are_those_of_a_flood_fill(maps: tuple[np.ndarray, np.ndarray], voxels: int) -> None:
    pair = MaskPair.of(*maps, MM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation.measures.boxes, "TILE_VOXELS", voxels)
        runs = runs_of(pair.truth, tiles(foreground_boxes(pair)), 2)
    numbers = components(runs)
    found: dict[int, set[tuple[int, ...]]] = {}
    for number, row, first, last in zip(numbers, runs.row, runs.first, runs.last, strict=True):
        z, y = divmod(int(row), pair.shape[1])
        found.setdefault(int(number), set()).update((z, y, x) for x in range(int(first), int(last) + 1))
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, reference.components(pair.truth == 2)))


@settings(max_examples=40, deadline=None)
@given(label_maps(2))
def test_a_single_pair_of_lesions_matches_by_its_iou(maps: tuple[np.ndarray, np.ndarray]) -> None:
    """At 10 mm a voxel is 1 mL, no fragment."""
    pair = MaskPair.of(*maps, (10.0, 10.0, 10.0))
    scores = lesion_scores(find_lesions(pair, foreground_boxes(pair)))
    ours, theirs = (reference.components(mask == 2) for mask in (pair.prediction, pair.truth))
    assert (scores["lesion_predicted"], scores["lesion_truth"]) == (len(ours), len(theirs))
    if len(ours) == len(theirs) == 1:
        iou = len(ours[0] & theirs[0]) / len(ours[0] | theirs[0])
        assert scores["lesion_found"] == float(iou >= 0.1)


def test_one_prediction_over_two_small_lesions_is_no_large_one() -> None:
    """Rods of 25 and 24 mm, T1a, and one of 60 mm, T1b, over both: it is of its partner's size, and T1b has none."""
    truth = np.maximum(tumor(0, 25), tumor(36, 24))
    scores = scores_of(tumor(0, 60), truth)
    counts = {size: [scores[f"lesion_{n}_{size}"] for n in ("truth", "found", "predicted")] for size in ("t1a", "t1b")}
    assert counts == {"t1a": [2, 1, 1], "t1b": [0, 0, 0]}
    assert math.isnan(scores["lesion_f1_t1b"])
    assert scores["lesion_f1_t1a"] == pytest.approx(2 / 3)
    assert scores["lesion_sq"] == pytest.approx(25 / 60)
    assert scores["lesion_pq"] == pytest.approx(25 / 60 * 2 / 3)


def test_a_lesion_by_hand() -> None:
    """Rods of 10 slices along x, the second moved by 2: 8 of 12 shared, centres 2 mm apart, 5 x 5 x 10 mm3."""
    true, ours = lesions_of(tumor(2, 10), tumor(0, 10))
    assert (true.side, true.number, true.partner, true.size) == ("truth", 1, 1, "t1a")
    assert (ours.side, ours.number, ours.partner) == ("prediction", 1, 1)
    assert true.volume_ml == pytest.approx(0.25)
    assert true.diameter_mm == pytest.approx(math.sqrt(4**2 + 4**2 + 9**2))
    assert true.centre == pytest.approx((12.0, 12.0, 4.5))
    assert (true.iou, true.dice, true.distance_mm) == pytest.approx((8 / 12, 16 / 20, 2.0))


@pytest.mark.parametrize("turn", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_centre_is_along_z_y_x_however_the_array_lies_in_memory(turn: tuple[int, int, int]) -> None:
    mask = tumor(0, 10)
    stored = np.ascontiguousarray(mask.transpose(turn)).transpose(np.argsort(turn))[:, ::-1]
    (true,) = lesions_of(np.zeros_like(stored), stored)
    assert true.centre == pytest.approx((12.0, 39 - 12.0, 4.5))


def test_threshold_and_least_volume_are_settable() -> None:
    """5 of 15 slices shared: an IoU of 1/3; each rod is 0.25 mL."""
    pair = tumor(5, 10), tumor(0, 10)
    assert [lesion.partner for lesion in lesions_of(*pair, Rules(iou=0.33))] == [1, 1]
    assert [lesion.partner for lesion in lesions_of(*pair, Rules(iou=0.34))] == [None, None]
    assert lesions_of(*pair, Rules(least_ml=0.26)) == []
