from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluation.measures.boxes
import evaluation.measures.shell
from evaluation.case import score_masks
from evaluation.kits import KITS23, Target
from evaluation.masks.pair import MaskPair
from evaluation.measures.boxes import foreground_boxes, tiles
from evaluation.measures.shell import MAX_STEPS, Tile, steps_within
from evaluation.measures.surface import Distances, SurfaceTally
from evaluation.measures.surfels import surfel_areas
from tests.evaluation import reference
from tests.evaluation.conftest import SPACINGS, blob, kidney_with_tumor, label_maps

MM = (1.0, 1.0, 1.0)


def tally_of(
    prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float], tolerance: float
) -> SurfaceTally:
    pair = MaskPair.of(prediction, truth, spacing)
    tally = SurfaceTally(Target("mass", frozenset({2, 3}), tolerance), pair.spacing_mm, with_distances=True)
    for bounds in tiles(foreground_boxes(pair)):
        tally.add(Tile(pair, bounds, tally.halo))
    return tally


@settings(max_examples=60, deadline=None)
@given(label_maps(), st.sampled_from(SPACINGS), st.sampled_from((0.5, 1.13, 3.0)))
def test_surface_dice_is_that_of_all_distances_by_hand(
    maps: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float], tolerance: float
) -> None:
    ours, theirs = (np.isin(labels, (2, 3)) for labels in maps)
    expected = reference.surface_dice(ours, theirs, spacing, tolerance)
    assert tally_of(*maps, spacing, tolerance).surface_dice() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(label_maps(), st.sampled_from(SPACINGS))
def test_hd95_and_assd_are_those_of_all_distances_by_hand(
    maps: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float]
) -> None:
    ours, theirs = (np.isin(labels, (2, 3)) for labels in maps)
    tally = tally_of(*maps, spacing, 1.0)
    if not ours.any() or not theirs.any():
        assert tally.empty
        return
    found = tally.distances()
    assert found.hd95_mm == pytest.approx(reference.hd95(ours, theirs, spacing), abs=1e-9)
    assert found.assd_mm == pytest.approx(reference.assd(ours, theirs, spacing), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(label_maps(), st.sampled_from(SPACINGS), st.permutations((0, 1, 2)), st.tuples(*[st.sampled_from((1, -1))] * 3))
def test_the_order_of_axes_in_memory_changes_nothing(
    maps: tuple[np.ndarray, np.ndarray],
    spacing: tuple[float, float, float],
    axes: tuple[int, ...],
    flips: tuple[int, ...],
) -> None:
    back = np.argsort(axes)
    view = tuple(slice(None, None, flip) for flip in flips)
    turned = [np.ascontiguousarray(m[view].transpose(axes)).transpose(back)[view] for m in maps]
    expected = score_masks(*maps, spacing, "kits23")
    assert score_masks(*turned, spacing, "kits23") == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(label_maps(), st.sampled_from(SPACINGS), st.integers(1, 60))
def test_tiles_and_blocks_of_any_size_give_the_same(
    maps: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float], voxels: int
) -> None:
    expected = score_masks(*maps, spacing, "all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation.measures.boxes, "TILE_VOXELS", voxels)
        patch.setattr(evaluation.measures.boxes, "BLOCK", 1 + voxels % 3)
        found = score_masks(*maps, spacing, "kits23")
    assert found == pytest.approx({key: expected[key] for key in found}, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(label_maps(), st.sampled_from(SPACINGS))
def test_the_tree_that_replaces_many_steps_gives_the_same(
    maps: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float]
) -> None:
    expected = score_masks(*maps, spacing, "kits23")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation.measures.shell, "MAX_STEPS", 1)
        assert score_masks(*maps, spacing, "kits23") == pytest.approx(expected, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(label_maps(), st.sampled_from(SPACINGS))
@pytest.mark.filterwarnings("ignore")  # the package calls names that SciPy deprecates
def test_equal_to_the_official_package(
    maps: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float]
) -> None:
    official = pytest.importorskip("surface_distance")
    scores = score_masks(*maps, spacing, "all")
    for target in KITS23:
        ours, theirs = (np.isin(labels, list(target.labels)) for labels in maps)
        if ours.any() and theirs.any():
            found = official.compute_surface_distances(theirs, ours, spacing)
            sd = official.compute_surface_dice_at_tolerance(found, target.tolerance_mm)
            assert scores[f"{target.name}_sd"] == pytest.approx(sd, abs=1e-9)
            # It rounds where a surfel meets 95 % exactly, so that it may say the next one.
            either = [official.compute_robust_hausdorff(found, percent) for percent in (95, 95 - 1e-7)]
            assert any(scores[f"{target.name}_hd95_mm"] == pytest.approx(hd95, abs=1e-9) for hd95 in either)


def test_two_voxels_by_hand() -> None:
    """Side by side, each has 4 of its 8 corners on the other and 4 at 1 mm; two apart, 4 at 1 mm and 4 at 2 mm."""
    row = (1, 1, 4)
    first = blob(row, (0, 0, 0), (1, 1, 1), 2)
    beside, apart = blob(row, (0, 0, 1), (1, 1, 1), 2), blob(row, (0, 0, 2), (1, 1, 1), 2)
    assert tally_of(first, beside, MM, 0.9).surface_dice() == pytest.approx(0.5)
    assert tally_of(first, beside, MM, 1.0).surface_dice() == 1.0
    assert tally_of(first, beside, MM, 1.0).distances().assd_mm == pytest.approx(0.5)
    assert tally_of(first, apart, MM, 1.0).surface_dice() == pytest.approx(0.5)
    assert tally_of(first, apart, MM, 1.0).distances().hd95_mm == pytest.approx(2.0)
    assert tally_of(first, apart, (1.0, 1.0, 3.0), 1.0).distances().assd_mm == pytest.approx(4.5)


def test_empty_masks_by_hand() -> None:
    """HD95, ASSD and centre distance are 0 where both are empty, the image's diagonal where one is: 3, 4, 12 mm: 13."""
    labels = blob((3, 2, 4), (1, 0, 1), (1, 1, 1), 2)
    nothing = np.zeros_like(labels)
    spacing = (1.0, 2.0, 3.0)
    for prediction, truth, expected in ((nothing, nothing, 0.0), (labels, nothing, 13.0), (nothing, labels, 13.0)):
        scores = score_masks(prediction, truth, spacing, "all")
        for key in ("mass_hd95_mm", "mass_assd_mm", "mass_centre_distance_mm"):
            assert scores[key] == pytest.approx(expected)


def test_an_empty_mask_has_no_distances() -> None:
    tally = tally_of(np.zeros((2, 2, 2), np.uint8), blob((2, 2, 2), (0, 0, 0), (1, 1, 1), 2), MM, 1.0)
    assert tally.empty == "prediction"
    with pytest.raises(ValueError, match="distances need two surfaces"):
        tally.distances()


def test_stray_voxels_in_opposite_corners_are_tiles_of_their_own() -> None:
    truth = blob((96, 96, 96), (40, 40, 40), (20, 20, 20), 2)
    prediction = truth.copy()
    prediction[0, 0, 0] = prediction[-1, -1, -1] = 2
    pair = MaskPair.of(prediction, truth, MM)
    assert sorted(foreground_boxes(pair)) == [
        ((0, 1),) * 3, ((40, 60),) * 3, ((95, 96),) * 3,
    ]  # fmt: skip
    areas = surfel_areas(MM)
    area = 2 * sum(areas[code] for code in reference.surfels(truth[39:61, 39:61, 39:61]).values())
    expected = area / (area + 2 * 8 * areas[1])
    assert tally_of(prediction, truth, MM, 1.0).surface_dice() == pytest.approx(expected, abs=1e-12)


def test_steps_by_hand() -> None:
    steps = steps_within((3.0, 0.78, 0.78), 1.13)
    assert steps.corners[0].tolist() == [0, 0, 0]
    assert steps.lengths_mm == pytest.approx([0.0, *[0.78] * 4, *[0.78 * 2**0.5] * 4])
    assert steps.halo == (0, 1, 1)
    assert steps.reach_mm == 1.13


def test_of_too_many_steps_the_shortest_are_kept() -> None:
    steps = steps_within((0.01, 0.01, 0.01), 1.13)
    assert 500 < len(steps) <= MAX_STEPS
    assert 0 < steps.reach_mm < 1.13
    within = [i for i in np.ndindex(31, 31, 31) if 0.01 * np.linalg.norm(np.array(i) - 15) <= steps.reach_mm]
    assert len(steps) == len(within)


def test_identical_masks_score_one() -> None:
    labels = kidney_with_tumor()
    scores = score_masks(labels, labels, (3.0, 0.78, 0.78), "all")
    assert all(scores[f"{target.name}_{end}"] == 1.0 for target in KITS23 for end in ("dice", "sd"))
    assert all(scores[key] == 0 for key in scores if key.endswith("_mm") or "volume_error" in key)


def test_percentile_mean_and_largest_by_hand() -> None:
    """1, 1 and 2 mm2 at 0, 3 and 5 mm one way, 4 mm2 at 1 mm the other: 5 mm, (3 + 10 + 4) / 8, 5 mm."""
    found = Distances(np.array([0.0, 3.0, 5.0]), np.array([1.0, 1.0, 2.0]), np.array([1.0]), np.array([4.0]))
    assert (found.hd95_mm, found.assd_mm, found.hd100_mm) == (5.0, 17 / 8, 5.0)
    assert found.share_within(1.0) == 5 / 8
