"""Synthetic cases: the same every time, on KiTS19's grid, with KiTS19's label rules and plausible HU and sizes."""

from __future__ import annotations

import gzip
import struct
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, label

from kits_submit.errors import InputError, OutputError
from kits_submit.labels import KIDNEY, TUMOR
from kits_submit.phantom import Phantom, draw_phantom, write_phantom, write_phantoms
from kits_submit.phantom.draw import draw_patient
from kits_submit.phantom.scanner import SLICE_MM, blur_slices
from kits_submit.phantom.shapes import Box, Capsule, Ellipsoid, Grid, Waves, turned
from kits_submit.types import Spacing

AXIS_CODES: Any = nib.aff2axcodes  # nibabel is not typed
COARSE: Spacing = (5.0, 2.5, 2.5)
FULL = np.ones((3, 3, 3), np.bool_)  # 26-neighbourhood


@cache
def coarse(index: int) -> Phantom:
    return draw_phantom(11, index, spacing_mm=COARSE)


def millilitres(phantom: Phantom, wanted: int) -> float:
    return float((phantom.labels == wanted).sum() * np.prod(phantom.spacing_mm) / 1000)


def test_same_arguments_draw_the_same_voxels() -> None:
    first, second = (draw_phantom(5, 2, spacing_mm=(8.0, 4.0, 4.0)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.phase == second.phase


def test_cases_and_seeds_differ() -> None:
    images = [draw_phantom(s, i, spacing_mm=(8.0, 4.0, 4.0)).labels for s, i in ((5, 2), (5, 3), (6, 2))]
    volumes = {int((labels == KIDNEY).sum()) for labels in images}
    assert len(volumes) == 3


def test_case_does_not_depend_on_the_set_it_is_written_with(tmp_path: Path) -> None:
    alone = write_phantoms(tmp_path / "a", 1, 5, spacing_mm=(8.0, 4.0, 4.0), first=1)
    seen: list[str] = []
    among = write_phantoms(tmp_path / "b", 2, 5, spacing_mm=(8.0, 4.0, 4.0), on_case=seen.append)
    assert [p.name for p in alone] == ["case_00001"]
    assert [p.name for p in among] == seen == ["case_00000", "case_00001"]
    for name in ("imaging.nii.gz", "segmentation.nii.gz"):
        assert (alone[0] / name).read_bytes() == (among[1] / name).read_bytes()


def test_files_are_laid_out_as_kits_stores_them(tmp_path: Path) -> None:
    phantom = coarse(0)
    write_phantom(phantom, tmp_path / "case_00000")
    image: Any = nib.load(tmp_path / "case_00000" / "imaging.nii.gz")
    labels: Any = nib.load(tmp_path / "case_00000" / "segmentation.nii.gz")
    z, y, x = COARSE
    expected = [[0, 0, -x, 0], [0, -y, 0, 0], [-z, 0, 0, 0], [0, 0, 0, 1]]
    for file in (image, labels):
        np.testing.assert_array_equal(file.affine, expected)
        np.testing.assert_array_equal(file.affine, phantom.affine)
        assert AXIS_CODES(file.affine) == ("I", "P", "L")
        assert file.header.get_zooms() == COARSE
        assert file.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.float64
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), phantom.image)
    np.testing.assert_array_equal(np.asarray(labels.dataobj), phantom.labels)
    assert sorted(p.name for p in (tmp_path / "case_00000").iterdir()) == ["imaging.nii.gz", "segmentation.nii.gz"]


def test_gzip_header_carries_neither_time_nor_name(tmp_path: Path) -> None:
    write_phantom(coarse(0), tmp_path)
    raw = (tmp_path / "segmentation.nii.gz").read_bytes()
    magic, method, flags, mtime = struct.unpack("<HBBI", raw[:8])
    assert (magic, method, flags, mtime) == (0x8B1F, 8, 0, 0)
    assert len(gzip.decompress(raw)) == 352 + coarse(0).labels.size


@pytest.mark.parametrize("index", range(12))
def test_every_tumor_touches_a_kidney(index: int) -> None:
    labels = coarse(index).labels
    assert set(np.unique(labels)) == {0, KIDNEY, TUMOR}
    beside_kidney = binary_dilation(labels == KIDNEY, FULL)
    parts, count = label(labels == TUMOR, FULL)
    assert count >= 1
    for part in range(1, count + 1):
        assert (beside_kidney & (parts == part)).any()


@pytest.mark.parametrize("index", range(12))
def test_kidneys_and_tumors_lie_whole_inside_the_field_of_view(index: int) -> None:
    labels = coarse(index).labels
    for axis in range(3):
        ends = labels.take([0, -1], axis=axis)
        assert not ends.any()


def test_right_kidney_is_at_low_columns() -> None:
    """Columns grow to the patient's left: the liver, brighter than fat, fills the low columns above the kidneys."""
    phantom = coarse(1)
    top = int(np.flatnonzero(phantom.labels.any(axis=(1, 2)))[0])
    soft = (phantom.image[top] > 20) & (phantom.image[top] < 200)
    half = soft.shape[1] // 2
    assert soft[:, :half].sum() > soft[:, half:].sum()


def test_volumes_stay_within_kits_range() -> None:
    """KiTS19 (kits.md): kidney 91 / 408 / 765 mL, tumor 0.82 / 30.1 / 1464 mL (min / median / max)."""
    phantoms = [coarse(i) for i in range(12)] + [draw_phantom(12, i, spacing_mm=(6.0, 4.0, 4.0)) for i in range(14)]
    kidney = np.array([millilitres(p, KIDNEY) for p in phantoms])
    tumor = np.array([millilitres(p, TUMOR) for p in phantoms])
    assert kidney.min() > 91
    assert kidney.max() < 765
    assert 330 < np.median(kidney) < 490
    assert tumor.min() > 0.5
    assert tumor.max() < 1464
    assert 12 < np.median(tumor) < 75


def test_kidney_and_tumor_counts_are_kits() -> None:
    patients = [draw_patient(0, i) for i in range(200)]
    assert 2 <= sum(len(p.kidneys) == 1 for p in patients) <= 24
    assert all(len(p.tumors) >= 1 for p in patients)
    assert np.mean([len(p.tumors) == 1 for p in patients]) > 0.9
    assert {p.phase for p in patients} == {"unenhanced", "corticomedullary", "nephrographic", "excretory"}


# median HU of label 1 by phase, a bound around the literature values in phases.py
KIDNEY_HU = {
    "unenhanced": (18, 45),
    "corticomedullary": (100, 200),
    "nephrographic": (135, 225),
    "excretory": (100, 185),
}


def test_tissues_have_the_hu_of_their_phase() -> None:
    seen = set()
    for index in range(40):
        phase = draw_patient(11, index).phase
        if phase in seen and index >= 12:
            continue
        seen.add(phase)
        phantom = coarse(index)
        low, high = KIDNEY_HU[phase]
        kidney = phantom.image[phantom.labels == KIDNEY]
        assert low < np.median(kidney) < high
        assert 0 < np.median(phantom.image[phantom.labels == TUMOR]) < 190
        counts = np.histogram(phantom.image, bins=np.arange(-150, -50, 5))[0]
        assert -115 <= -150 + 5 * int(counts.argmax()) <= -90  # fat is the commonest tissue around -100
        assert np.median(phantom.image[:, :3, :3]) == pytest.approx(-1000, abs=25)
    assert seen == set(KIDNEY_HU)


def test_image_holds_whole_numbers_in_twelve_bits() -> None:
    phantom = coarse(0)
    assert phantom.image.dtype == np.float32
    assert phantom.labels.dtype == np.uint8
    np.testing.assert_array_equal(phantom.image, np.rint(phantom.image))
    assert phantom.image.min() >= -1024
    assert phantom.image.max() <= 3071


def test_matrix_256_draws_the_same_patient_at_doubled_pixels() -> None:
    fine, fast = (draw_phantom(7, 0, matrix=m, max_slices=40) for m in (512, 256))
    assert fine.image.shape[1:] == (512, 512)
    assert fast.image.shape[1:] == (256, 256)
    assert fast.spacing_mm == (fine.spacing_mm[0], 2 * fine.spacing_mm[1], 2 * fine.spacing_mm[2])
    assert millilitres(fast, KIDNEY) == pytest.approx(millilitres(fine, KIDNEY), rel=0.03)
    assert fast.image.mean() == pytest.approx(fine.image.mean(), abs=3)


def test_spacing_follows_kits_where_it_is_drawn() -> None:
    for index in range(4):
        phantom = draw_phantom(3, index, matrix=64, max_slices=60)
        z, y, x = phantom.spacing_mm
        assert z in SLICE_MM
        assert y == x
        assert 0.4375 <= x * 64 / 512 <= 1.041


@pytest.mark.parametrize("max_slices", [12, 40, 90])
@pytest.mark.parametrize("index", range(3))
def test_max_slices_is_kept_and_the_kidneys_stay_whole(max_slices: int, index: int) -> None:
    phantom = draw_phantom(3, index, matrix=64, max_slices=max_slices)
    assert len(phantom.image) <= max_slices
    free = draw_phantom(3, index, spacing_mm=(phantom.spacing_mm[0], 6.0, 6.0))
    assert millilitres(phantom, KIDNEY) == pytest.approx(millilitres(free, KIDNEY), rel=0.08)


def test_given_spacing_sets_the_matrix() -> None:
    phantom = coarse(0)
    assert phantom.spacing_mm == COARSE
    wide = draw_patient(11, 0).scan.fov_mm
    assert phantom.image.shape[1] == phantom.image.shape[2] == int(np.ceil(wide / 2.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cases": 0}, "cases=0, allowed 1 or more"),
        ({"seed": -1}, "seed=-1, index=0, neither may be negative"),
        ({"first": -2}, "first=-2, cases=1"),
        ({"first": 99_999, "cases": 2}, "five digits"),
        ({"matrix": 4}, "matrix=4, allowed 16 to 2048"),
        ({"max_slices": 2}, "max_slices=2, allowed 8 or more"),
        ({"spacing_mm": (5.0, 0.0, 1.0)}, "allowed three values of 0.2 to 20 mm"),
        ({"spacing_mm": (2.0, 4.0, 4.0), "max_slices": 20}, r"max_slices=20 does not hold the kidneys at 2 mm"),
    ],
)
def test_bad_arguments_are_told_in_one_line(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        write_phantoms(tmp_path / "out", **{"cases": 1, "seed": 0, **arguments})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the case cannot be written"):
        write_phantom(coarse(0), tmp_path / "file" / "case_00000")


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_phantom(coarse(0), tmp_path)
    before = (tmp_path / "imaging.nii.gz").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_phantom(coarse(1), tmp_path)
    assert (tmp_path / "imaging.nii.gz").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def dense_box(step: float = 1.0, reach: float = 40.0) -> Box:
    n = int(2 * reach / step) + 1
    box = Grid((-reach,) * 3, (step,) * 3, (n, n, n)).box((-reach,) * 3, (reach,) * 3)
    assert box is not None
    return box


def test_ball_distance_is_exact() -> None:
    box = dense_box(2.0)
    distance = Ellipsoid((3.0, -2.0, 5.0), (17.0, 17.0, 17.0)).distance(box)
    exact = np.sqrt((box.z - 3) ** 2 + (box.y + 2) ** 2 + (box.x - 5) ** 2) - 17
    outside_core = exact > -14
    np.testing.assert_allclose(distance[outside_core], exact[outside_core], atol=1e-3)


def test_turned_ellipsoid_keeps_its_volume_and_its_bounds() -> None:
    shape = Ellipsoid((0.0, 0.0, 0.0), (30.0, 12.0, 18.0), turned(0.4, 0.7, -0.3))
    box = dense_box()
    inside = shape.distance(box) < 0
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 30 * 12 * 18, rel=0.02)
    low, high = shape.bounds(0)
    for axis, coordinates in enumerate((box.z, box.y, box.x)):
        held = np.broadcast_to(coordinates, inside.shape)[inside]
        assert low[axis] <= held.min()
        assert held.max() <= high[axis]
        assert held.max() > high[axis] - 2


def test_capsule_distance_is_exact() -> None:
    box = dense_box(4.0)
    distance = Capsule((-20.0, 0.0, 0.0), (20.0, 0.0, 0.0), 5.0).distance(box)
    beyond = np.maximum(np.abs(box.z) - 20, 0)
    np.testing.assert_allclose(distance, np.sqrt(beyond**2 + box.y**2 + box.x**2) - 5, atol=1e-3)


@given(st.integers(0, 2**32), st.floats(8, 40))
def test_waves_have_unit_variance_on_average(seed: int, wavelength_mm: float) -> None:
    waves = Waves.draw(np.random.default_rng(seed), wavelength_mm, 12)
    values = waves.at(dense_box(5.0, 100.0))
    assert abs(float(values.mean())) < 0.5
    assert 0.5 < float(values.std()) < 1.6


def test_slice_blur_keeps_a_constant_and_the_sum() -> None:
    constant = np.full((6, 4, 4), 37.0, np.float32)
    blur_slices(constant, 5.0)
    np.testing.assert_array_equal(constant, 37.0)
    spike = np.zeros((7, 1, 1), np.float32)
    spike[3] = 100
    blur_slices(spike, 2.0)
    np.testing.assert_allclose(spike[:, 0, 0], [0, 0, 10, 80, 10, 0, 0], atol=1e-4)
