from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kits_submit.inference.postprocess import refine
from kits_submit.labels import KITS19, LabelSet, volume_ml
from kits_submit.recipe import Refinement
from tests import reference

NOTHING = {
    "opening_mm": 0,
    "kidney_min_ml": 0,
    "tumor_min_ml": 0,
    "foreground_min_ml": 0,
    "hole_max_ml": 0,
    "tumor_needs_kidney": False,
}
CUBE_MM = (10.0, 10.0, 10.0)  # one voxel is 1 mL


def refined_of(labels: np.ndarray, spacing_mm: tuple[float, float, float], refinement: Refinement) -> np.ndarray:
    return refine(labels, spacing_mm, refinement, KITS19)


def only(**changes: object) -> Refinement:
    return Refinement(**(NOTHING | changes))  # type: ignore[arg-type]


def row(*classes: int) -> np.ndarray:
    """A row of voxels with background all around."""
    return np.pad(np.array(classes, np.uint8).reshape(1, 1, -1), 1)


def middle(labels: np.ndarray) -> list[int]:
    return labels[1, 1, 1:-1].tolist()


label_maps = hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 2))
spacings = st.sampled_from([(10.0, 10.0, 10.0), (30.0, 8.0, 8.0), (5.0, 20.0, 10.0)])


@given(label_maps, spacings)
def test_thresholds_of_nothing_change_nothing(labels, spacing):
    refined = refined_of(labels, spacing, only())
    assert np.array_equal(refined, labels)
    assert not np.shares_memory(refined, labels)


@settings(max_examples=80)
@given(label_maps, spacings, st.sampled_from([1.5, 4.0, 9.0]))
def test_small_tumors_and_kidneys_go_to_the_category_that_touches_them_most(labels, spacing, threshold):
    padded = np.pad(labels, 1)
    inner = (slice(1, -1),) * 3
    tumor = reference.reassign_small(padded, 2, threshold, spacing)[inner]
    assert np.array_equal(refined_of(labels, spacing, only(tumor_min_ml=threshold)), tumor)
    kidney = reference.reassign_small(padded, 1, threshold, spacing)[inner]
    assert np.array_equal(refined_of(labels, spacing, only(kidney_min_ml=threshold)), kidney)


@settings(max_examples=60)
@given(label_maps, st.sampled_from([1.0, 3.0]))
def test_holes_are_filled_and_the_outside_is_not(labels, threshold):
    padded = np.pad(labels, 1)
    expected = reference.reassign_small(padded, 0, threshold, CUBE_MM, inclusive=True)[1:-1, 1:-1, 1:-1]
    assert np.array_equal(refined_of(labels, CUBE_MM, only(hole_max_ml=threshold)), expected)


def test_the_outside_of_a_small_thing_is_no_hole():
    labels = row(0, 1, 0)
    assert np.array_equal(refined_of(labels, CUBE_MM, only(hole_max_ml=1000)), labels)


def test_by_hand():
    assert middle(refined_of(row(1, 1, 2, 1, 1), CUBE_MM, only(tumor_min_ml=1.5))) == [1, 1, 0, 1, 1]  # touches 4 x air
    block = np.full((3, 3, 3), 1, np.uint8)
    block[1, 1, 1] = 2
    assert refined_of(block, CUBE_MM, only(tumor_min_ml=1.5))[1, 1, 1] == 1  # touches kidney alone
    assert refined_of(block, CUBE_MM, only(tumor_min_ml=1.0))[1, 1, 1] == 2  # of 1 mL is not below 1 mL
    block[1, 1, 1] = 0
    assert refined_of(block, CUBE_MM, only(hole_max_ml=1.0))[1, 1, 1] == 1
    assert refined_of(block, CUBE_MM, only(hole_max_ml=0.9))[1, 1, 1] == 0


def test_face_area_not_face_count_decides():
    """A tumor voxel of 40 x 10 x 10 mm between two kidney voxels along X and air elsewhere."""
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1] = 2
    labels[1, 0], labels[1, 2] = 1, 1
    labels[1, 1, 0], labels[1, 1, 2] = 0, 0
    spacing = (40.0, 10.0, 10.0)  # faces along Y and X are 400 mm^2, along Z 100 mm^2
    assert refined_of(labels, spacing, only(tumor_min_ml=5))[1, 1, 1] == 0  # 800 kidney, 800 + 200 air
    labels[1, 1, 0] = 1
    assert refined_of(labels, spacing, only(tumor_min_ml=5))[1, 1, 1] == 1  # 1200 kidney, 400 + 200 air


def test_foreground_too_small_for_a_kidney_goes_whole():
    assert middle(refined_of(row(1, 2, 0, 0, 1, 1, 2), CUBE_MM, only(foreground_min_ml=3))) == [0, 0, 0, 0, 1, 1, 2]


def test_a_tumor_without_kidney_goes_only_where_another_has_one():
    needs = only(tumor_needs_kidney=True)
    assert middle(refined_of(row(2, 2, 0, 1, 2), CUBE_MM, needs)) == [0, 0, 0, 1, 2]
    assert middle(refined_of(row(2, 2, 0, 2), CUBE_MM, needs)) == [2, 2, 0, 2]


def test_opening_cuts_what_no_ball_fits_into_and_keeps_the_rest():
    labels = np.zeros((9, 9, 20), np.uint8)
    labels[1:8, 1:8, 1:8] = 1
    labels[4, 4, 8:18] = 2
    opened = refined_of(labels, (1.0, 1.0, 1.0), only(opening_mm=1.5))
    assert not opened[4, 4, 10:].any()
    assert (opened[3:6, 3:6, 3:6] == 1).all()
    assert not (opened[labels == 0]).any()


@given(label_maps, spacings)
def test_no_foreground_component_under_the_threshold_is_left(labels, spacing):
    refined = refined_of(labels, spacing, only(foreground_min_ml=6))
    assert all(len(c) * volume_ml(1, spacing) >= 6 for c in reference.components(refined > 0, 26))


def test_empty_stays_empty():
    assert not refined_of(np.zeros((3, 4, 5), np.uint8), CUBE_MM, Refinement()).any()


@pytest.mark.parametrize("default", [Refinement()])
def test_the_default_keeps_a_plain_kidney_with_its_tumor(default):
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[3:15, 5:25, 5:25] = 1
    labels[6:10, 22:30, 10:18] = 2
    assert np.array_equal(refined_of(labels, (3.0, 1.5, 1.5), default), labels)


THREE = LabelSet.of(("background", "kidney", "tumor", "cyst"))


@pytest.mark.parametrize(
    ("changes", "given", "wanted"),
    [
        # a cyst between two tumor voxels: of its six faces two are tumor's, four background's
        ({"cyst_in_tumor": 0.3}, (1, 2, 3, 2), [1, 2, 2, 2]),
        ({"cyst_in_tumor": 0.34}, (1, 2, 3, 2), [1, 2, 3, 2]),
        ({"tumor_in_cyst": 0.3}, (1, 3, 2, 3), [1, 3, 3, 3]),
        ({"tumor_in_cyst": 0.3}, (1, 2, 3, 2), [1, 2, 3, 2]),
        ({}, (1, 2, 3, 2), [1, 2, 3, 2]),
        # a small cyst goes to what it touches most, a tumor of the same size by a threshold of its own
        ({"cyst_min_ml": 1.5}, (1, 1, 3, 0), [1, 1, 0, 0]),
        ({"cyst_min_ml": 1.5}, (1, 1, 2, 0), [1, 1, 2, 0]),
        # a mass that touches no kidney
        ({"tumor_needs_kidney": True}, (1, 0, 3, 2), [1, 0, 0, 0]),
    ],
)
def test_three_classes_by_hand(changes, given, wanted):
    none = {"cyst_min_ml": 0.0}
    assert middle(refine(row(*given), CUBE_MM, only(**(none | changes)), THREE)) == wanted


@given(label_maps, spacings)
def test_rules_of_cysts_change_nothing_of_two_classes(labels, spacing):
    usual, with_cysts = (
        only(tumor_min_ml=4.0),
        only(tumor_min_ml=4.0, cyst_in_tumor=0.3, tumor_in_cyst=0.3, cyst_min_ml=9.0),
    )
    assert np.array_equal(refined_of(labels, spacing, usual), refined_of(labels, spacing, with_cysts))
