"""The sampler: class balance, padding, epochs, and the arithmetic of drawing background without listing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kits_submit.errors import InputError
from kits_submit.types import Labels, Shape
from tests.conftest import recipe
from train.data.cache import CachedCase, write_case
from train.data.sampler import BESIDE_MM, Beside, Sampler, cut_patch, draw_centre, nth_absent
from train.synthesis.augment import Augmenter, mirror

SHAPE = (6, 8, 10)


def cached(folder: Path, label: Labels, name: str = "case_00000") -> CachedCase:
    """A case whose image holds each voxel's flat index plus one (exact in float16 up to 2048)."""
    image = (np.arange(label.size).reshape(label.shape) + 1).astype(np.float16)
    write_case(folder / name, image, label, 3)
    return CachedCase(name, folder / name, 3)


def label_of(kidney: int, tumor: int, shape: Shape = SHAPE) -> Labels:
    label = np.zeros(shape, np.uint8)
    label.reshape(-1)[100 : 100 + kidney] = 1
    label.reshape(-1)[300 : 300 + tumor] = 2
    return label


def sampler(cases: list[CachedCase], **options: object) -> Sampler:
    values = {"patch": (4, 4, 4), "batch": 4, "patients": 2, "air": -5.0} | options
    return Sampler(cases, **values)  # type: ignore[arg-type]


def test_centres_are_even_over_classes_and_over_each_classs_voxels(tmp_path: Path) -> None:
    """3000 draws: a class has 1000 +- 26 (one standard deviation); 150 allowed. Tumor's 5 voxels: 200 +- 14; 70."""
    case = cached(tmp_path, label_of(kidney=50, tumor=5))
    rng = np.random.default_rng(0)
    centres = [draw_centre(case, rng) for _ in range(3000)]
    classes = np.bincount([case.label[c] for c in centres], minlength=3)
    assert abs(classes - 1000).max() < 150
    tumor = [int(np.ravel_multi_index(c, SHAPE)) for c in centres if case.label[c] == 2]
    assert abs(np.bincount(tumor)[300:305] - 200).max() < 70
    background = np.bincount(
        [int(np.ravel_multi_index(c, SHAPE)) for c in centres if case.label[c] == 0], minlength=480
    )[(case.label == 0).ravel()]
    spread = ((background - 1000 / 425) ** 2 / (1000 / 425)).sum()  # chi-square of 424 degrees: 424 +- 29
    assert 424 - 5 * 29 < spread < 424 + 5 * 29


@pytest.mark.parametrize(("kidney", "tumor", "classes"), [(9, 0, {0, 1}), (0, 9, {0, 2}), (0, 0, {0})])
def test_a_class_that_a_case_lacks_is_left_out(tmp_path: Path, kidney: int, tumor: int, classes: set[int]) -> None:
    case = cached(tmp_path, label_of(kidney, tumor))
    rng = np.random.default_rng(0)
    drawn = np.bincount([case.label[draw_centre(case, rng)] for _ in range(400)], minlength=3)
    assert set(np.flatnonzero(drawn).tolist()) == classes
    assert abs(drawn[sorted(classes)] - 400 / len(classes)).max() < 60


@pytest.mark.parametrize(("share", "reach"), [(0.0, 0), (0.25, 2), (0.49, 3)])
def test_jitter_puts_the_drawn_voxel_anywhere_within_its_share(tmp_path: Path, share: float, reach: int) -> None:
    """One tumor voxel, no kidney: half of the patches are drawn for it, and hold it within `reach` of their centre."""
    case = cached(tmp_path, label_of(kidney=0, tumor=1))
    drawn = sampler([case], patch=(8, 8, 8), batch=1, patients=1, centre_jitter=share)
    offsets = [np.argwhere(drawn.batch(step).label[0] == 2) - 4 for step in range(1500)]
    held = np.concatenate([offset for offset in offsets if len(offset)])
    assert len(held) >= 600
    inside = held[(np.abs(held) <= reach).all(axis=1)]
    assert len(inside) >= 600
    for axis in range(3):
        assert set(inside[:, axis].tolist()) == set(range(-reach, reach + 1))
        assert np.mean(inside[:, axis] == 0) == pytest.approx(1 / (2 * reach + 1), abs=0.08)


def test_a_case_without_background(tmp_path: Path) -> None:
    case = cached(tmp_path, np.ones((2, 2, 2), np.uint8))
    assert case.label[draw_centre(case, np.random.default_rng(0))] == 1


@given(st.sets(st.integers(0, 40)), st.integers(0, 20))
def test_nth_absent_equals_a_list(present: set[int], rank: int) -> None:
    absent = [i for i in range(100) if i not in present]
    assert nth_absent(np.array(sorted(present), np.int64), rank) == absent[rank]


def test_a_patch_inside_is_a_plain_cut(tmp_path: Path) -> None:
    case = cached(tmp_path, label_of(50, 5))
    image, label = cut_patch(case, (3, 4, 5), (4, 4, 2), air=-5)
    np.testing.assert_array_equal(image, np.asarray(case.image[1:5, 2:6, 4:6], np.float32))
    np.testing.assert_array_equal(label, case.label[1:5, 2:6, 4:6])
    assert image[2, 2, 1] == case.image[3, 4, 5]


@pytest.mark.parametrize("centre", [(0, 0, 0), (5, 7, 9), (0, 7, 4)])
@pytest.mark.parametrize("patch", [(4, 4, 4), (16, 20, 24)])
def test_a_patch_that_leaves_the_volume_is_padded_with_air(tmp_path: Path, centre: Shape, patch: Shape) -> None:
    case = cached(tmp_path, label_of(50, 5))
    image, label = cut_patch(case, centre, patch, air=-5)
    for index in np.ndindex(patch):
        z, y, x = (c - edge // 2 + i for c, edge, i in zip(centre, patch, index, strict=True))
        inside = 0 <= z < 6 and 0 <= y < 8 and 0 <= x < 10
        assert image[index] == (case.image[z, y, x] if inside else -5)
        assert label[index] == (case.label[z, y, x] if inside else 0)


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    cases = [cached(tmp_path, label_of(50, 5), f"case_{i:05d}") for i in range(3)]
    first, again = sampler(cases, flip_axes="zyx"), sampler(cases, flip_axes="zyx")
    again.batch(0)
    for step in (7, 2):
        np.testing.assert_array_equal(first.batch(step).image, again.batch(step).image)
        np.testing.assert_array_equal(first.batch(step).label, again.batch(step).label)
    other = sampler(cases, seed=1)
    assert not np.array_equal(first.batch(7).image, first.batch(2).image)
    assert not np.array_equal(first.batch(7).image, other.batch(7).image)


def test_tumors_are_taught_as_kidney_where_the_whole_is_asked_for(tmp_path: Path) -> None:
    case = cached(tmp_path, label_of(kidney=50, tumor=60))
    parts, whole = (sampler([case], batch=16, whole=asked).batch(0) for asked in (False, True))
    np.testing.assert_array_equal(whole.image, parts.image)
    np.testing.assert_array_equal(whole.label, np.minimum(parts.label, 1))
    assert parts.label.max() == 2


def test_batches_have_their_types_and_shapes(tmp_path: Path) -> None:
    batch = sampler([cached(tmp_path, label_of(50, 5))], patch=(4, 8, 12), batch=3).batch(0)
    assert (batch.image.shape, batch.image.dtype) == ((3, 1, 4, 8, 12), np.float32)
    assert (batch.label.shape, batch.label.dtype) == ((3, 4, 8, 12), np.uint8)


def test_an_epoch_visits_each_case_once(tmp_path: Path) -> None:
    """5 cases, 2 a step: 3 steps, the last filled up from the epoch's start."""
    cases = [cached(tmp_path, label_of(5, 5), f"case_{i:05d}") for i in range(5)]
    drawn = sampler(cases)
    assert drawn.steps_per_epoch == 3
    for epoch in range(4):
        visited = [case.case_id for step in range(3) for case in drawn.patients_of(3 * epoch + step)]
        assert sorted(visited[:5]) == [case.case_id for case in cases]
        assert visited[5] == visited[0]


def test_a_batch_is_shared_evenly_by_its_patients(tmp_path: Path) -> None:
    """39 patches from 13 patients are three each (paper section 2.4)."""
    shape = (4, 4, 4)
    cases = []
    for i in range(13):
        folder = tmp_path / f"case_{i:05d}"
        write_case(folder, np.full(shape, i, np.float16), np.zeros(shape, np.uint8), 3)
        cases.append(CachedCase(folder.name, folder, 3))
    batch = sampler(cases, batch=39, patients=13).batch(0)
    counts = np.bincount(batch.image.reshape(39, -1).max(1).astype(int), minlength=13)
    assert counts.tolist() == [3] * 13


def test_no_case_is_told() -> None:
    with pytest.raises(InputError, match="no case to train on"):
        sampler([])


def test_mirroring_keeps_image_and_label_together() -> None:
    image = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    label = (np.arange(60) % 3).astype(np.uint8).reshape(3, 4, 5)
    seen = set()
    for seed in range(40):
        a, b = mirror(image, label, "zx", np.random.default_rng(seed))
        np.testing.assert_array_equal(a % 3, b)
        seen.add(int(a[0, 0, 0]))
    assert seen == {0, 40, 4, 44}  # corners of z and x; y stays
    np.testing.assert_array_equal(mirror(image, label, "", np.random.default_rng(0))[0], image)


AIR = -4.7  # no float16 is -4.7: the stored air is -4.6992, above it


def half_air(folder: Path, tissue_from: int) -> CachedCase:
    image = np.full((6, 8, 10), AIR, np.float16)
    image[:, :, tissue_from:] = -4.5
    label = np.zeros(image.shape, np.uint8)
    label[2, 3, 8:] = 1, 2
    write_case(folder / "case_00000", image, label, 3)
    return CachedCase("case_00000", folder / "case_00000", 3)


def test_background_above_air_is_drawn_from_tissue_evenly(tmp_path: Path) -> None:
    """Half is air: 20 draws miss tissue once in a million. 238 background voxels of tissue; 1000 draws of class 0."""
    case, rng = half_air(tmp_path, 5), np.random.default_rng(0)
    centres = [draw_centre(case, rng, AIR) for _ in range(3000)]
    assert abs(np.bincount([case.label[c] for c in centres], minlength=3) - 1000).max() < 150  # classes stay even
    background = [c for c in centres if case.label[c] == 0]
    assert min(x for _, _, x in background) == 5
    assert len(set(background)) > 225  # of 238: 1000 draws leave out 238 * exp(-4.2) = 3.6
    assert min(draw_centre(case, rng)[2] for _ in range(100)) == 0  # without `air`, everywhere


def test_a_case_whose_background_is_all_air_still_has_a_centre(tmp_path: Path) -> None:
    case, rng = half_air(tmp_path, 10), np.random.default_rng(0)
    assert {int(case.label[draw_centre(case, rng, AIR)]) for _ in range(60)} == {0, 1, 2}


@pytest.mark.parametrize("above", [False, True])
def test_the_sampler_hands_its_air_on(tmp_path: Path, above: bool) -> None:
    drawn = Sampler([half_air(tmp_path, 5)], patch=(4, 4, 4), batch=60, patients=1, air=AIR, background_above_air=above)
    batch = drawn.batch(0)
    in_air = (batch.image[:, 0, 2, 2, 2] < -4.6) & (batch.label[:, 2, 2, 2] == 0)
    assert in_air.any() == (not above)


def test_augmented_batches_depend_on_seed_and_step_alone_and_differ_from_plain_ones(tmp_path: Path) -> None:
    cases = [cached(tmp_path, label_of(50, 5), f"case_{i:05d}") for i in range(3)]
    augmenter = Augmenter(recipe(), 1.0)
    first, again, plain = (sampler(cases, augmenter=one) for one in (augmenter, augmenter, None))
    again.batch(0)
    np.testing.assert_array_equal(first.batch(3).image, again.batch(3).image)
    np.testing.assert_array_equal(first.batch(3).label, again.batch(3).label)
    assert not np.array_equal(first.batch(3).image, plain.batch(3).image)


def corner(folder: Path) -> CachedCase:
    """Kidney in one corner of a long volume of tissue."""
    label = np.zeros((40, 30, 30), np.uint8)
    label[:3, :3, :3] = 1
    return cached(folder, label)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.03), (0.5, 0.5), (1.0, 1.0)])
def test_its_share_of_background_centres_lies_beside_the_foreground(
    tmp_path: Path, share: float, expected: float
) -> None:
    case, rng, reach = corner(tmp_path), np.random.default_rng(0), (5, 6, 7)
    drawn = [draw_centre(case, rng, None, Beside(share, reach)) for _ in range(1200)]
    background = [centre for centre in drawn if not case.label[centre]]
    near = [all(at <= 2 + r for at, r in zip(centre, reach, strict=True)) for centre in background]
    assert len(background) == pytest.approx(600, abs=80)
    assert np.mean(near) == pytest.approx(expected, abs=0.06)


def test_beside_is_meant_in_millimetres(tmp_path: Path) -> None:
    drawn = sampler([corner(tmp_path)], background_beside=0.5, spacing_mm=(4.0, 3.0, 1.5))
    assert drawn.beside == Beside(0.5, (round(BESIDE_MM / 4), round(BESIDE_MM / 3), round(BESIDE_MM / 1.5)))


def test_foreground_without_background_beside_it_has_another_centre(tmp_path: Path) -> None:
    label = np.ones((8, 8, 8), np.uint8)
    label[7, 7, 7] = 0
    case = cached(tmp_path, label)
    centres = {draw_centre(case, np.random.default_rng(k), None, Beside(1.0, (1, 1, 1))) for k in range(40)}
    assert (7, 7, 7) in centres
