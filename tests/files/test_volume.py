from __future__ import annotations

import contextlib
import gzip
import itertools
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kits_submit.atomic import replacing
from kits_submit.errors import GeometryError, LabelError, OutputError, VolumeError
from kits_submit.files.nifti import CHUNK_BYTES
from kits_submit.files.volume import open_planes, read_grid, read_labels, read_volume, write_labels
from tests.conftest import kits_affine, save

ORIENTATIONS = [
    "".join(codes) for axes in itertools.permutations(("LR", "AP", "IS")) for codes in itertools.product(*axes)
]


def affine_of(orientation: str, spacing: dict[str, float]) -> np.ndarray:
    """RAS+ affine of stored axes that point where `orientation` says, with a spacing by body axis."""
    direction = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(orientation):
        row, sign = direction[code]
        affine[row, axis] = sign * spacing["xyz"[row]]
    affine[:3, 3] = (11, -7, 3)
    return affine


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_any_orientation_is_turned_to_ipl_and_back(tmp_path, orientation):
    """Each voxel holds its own place in the body, so that a wrong turn cannot pass."""
    affine = affine_of(orientation, {"x": 0.5, "y": 1.0, "z": 4.0})
    extent = {"x": 3, "y": 4, "z": 5}
    body = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}
    shape = tuple(extent[body[code]] for code in orientation)
    places = np.einsum("ij,jabc->iabc", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    stored = np.round(places[0] * 2 + places[1] * 100 + places[2] * 1000).astype(np.float64)
    path = save(tmp_path / "a.nii.gz", stored, affine)

    volume = read_volume(path)

    assert volume.grid.orientation == orientation
    assert volume.grid.spacing_mm == (4.0, 1.0, 0.5)
    assert volume.voxels.shape == volume.grid.shape == (5, 4, 3)
    z, y, x = np.indices((5, 4, 3))
    low, high = places.min(axis=(1, 2, 3)), places.max(axis=(1, 2, 3))
    expected = (high[0] - 0.5 * x) * 2 + (high[1] - 1.0 * y) * 100 + (high[2] - 4.0 * z) * 1000
    assert np.array_equal(volume.voxels, expected.astype(np.float32))
    assert (low < high).all()

    labels = (np.indices((5, 4, 3)).sum(axis=0) % 3).astype(np.uint8)
    out = tmp_path / "out.nii.gz"
    write_labels(out, labels, volume.grid)
    assert np.array_equal(read_labels(out).voxels, labels)
    assert np.array_equal(nib.load(out).affine, nib.load(path).affine)
    assert nib.load(out).shape == shape


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, ">i2", ">f4"])
def test_every_numeric_type_and_byte_order_reads_as_nibabel_reads_it(tmp_path, dtype):
    voxels = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(dtype)
    image = nib.Nifti1Image(voxels, kits_affine())
    image.header.set_data_dtype(dtype)
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").voxels, voxels.astype(np.float32))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slope_and_intercept_are_applied(tmp_path, suffix):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), kits_affine())
    image.header.set_slope_inter(2.0, -1024.0)
    nib.save(image, tmp_path / f"a{suffix}")
    voxels = read_volume(tmp_path / f"a{suffix}").voxels
    assert voxels.ravel().tolist() == [2.0 * n - 1024 for n in range(24)]


def test_nifti_2_and_trailing_axes_keep_their_form(tmp_path):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    nib.save(nib.Nifti2Image(voxels, kits_affine()), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.voxels, voxels[..., 0])
    write_labels(tmp_path / "b.nii.gz", np.ones((2, 3, 4), np.uint8), volume.grid)
    written = nib.load(tmp_path / "b.nii.gz")
    assert isinstance(written, nib.Nifti2Image)
    assert written.shape == (2, 3, 4, 1)


def test_a_volume_longer_than_a_chunk_is_read_whole(tmp_path):
    shape = (64, 64, 2 * CHUNK_BYTES // (64 * 64 * 8) + 3)
    voxels = np.random.default_rng(0).integers(-1000, 3000, shape).astype(np.float64)
    path = save(tmp_path / "a.nii", voxels)
    assert np.array_equal(read_volume(path).voxels, voxels.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("orientation", ["IPL", "RAS", "PSR"])
def test_planes_are_the_volumes_whichever_buffer_they_came_in(tmp_path, orientation, dtype, monkeypatch):
    """All of them kept to the end, by when each buffer has held many parts."""
    monkeypatch.setattr("kits_submit.files.nifti.CHUNK_BYTES", 2000)
    voxels = np.random.default_rng(0).integers(-1000, 1000, (12, 16, 20)).astype(dtype)
    path = save(tmp_path / "a.nii.gz", voxels, affine_of(orientation, {"x": 0.5, "y": 1.0, "z": 4.0}))
    whole = read_volume(path).voxels
    with open_planes(path) as planes:
        kept = dict(planes.stream)
        order = list(kept)
    assert order == sorted(order, reverse=planes.descending)
    assert np.array_equal(np.stack([kept[i] for i in sorted(kept)], axis=planes.axis), whole)


def test_a_reader_that_stops_leaves_no_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("kits_submit.files.nifti.CHUNK_BYTES", 2000)
    path = save(tmp_path / "a.nii.gz", np.zeros((12, 16, 200), np.int16))
    before = threading.active_count()
    with open_planes(path) as planes:
        next(planes.stream)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_damaged_file_is_told_as_one_whatever_its_voxels_became(tmp_path):
    """Stored gzip blocks, so that eight bytes overwritten are one voxel that is not a number; the end comes later."""
    plain = save(tmp_path / "a.nii", np.zeros((128, 128, 200)))
    whole = gzip.compress(plain.read_bytes(), compresslevel=0)
    at = len(whole) // 8
    (tmp_path / "b.nii.gz").write_bytes(whole[:at] + b"\xff" * 16 + whole[at + 16 :])
    with open_planes(tmp_path / "b.nii.gz") as planes, pytest.raises(VolumeError, match="not a whole gzip file"):
        list(planes.stream)


def test_a_written_header_keeps_geometry_and_drops_text(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), kits_affine())
    image.header["descrip"] = b"Jane Doe"
    image.header["intent_name"] = b"Jane"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe, born 1950"))
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(kits_affine(), code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "a.nii.gz")
    write_labels(tmp_path / "b.nii.gz", np.zeros((2, 3, 4), np.uint8), read_grid(tmp_path / "a.nii.gz"))
    source, written = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "b.nii.gz")
    assert np.array_equal(written.affine, source.affine)
    assert [int(written.header[code]) for code in ("qform_code", "sform_code")] == [1, 0]
    assert written.header.get_xyzt_units() == ("mm", "sec")
    assert written.header.get_zooms() == source.header.get_zooms()
    assert b"Jane" not in gzip.decompress((tmp_path / "b.nii.gz").read_bytes())


def test_equal_masks_are_equal_bytes(tmp_path):
    grid = read_grid(save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.int16)))
    for name in "bc":
        write_labels(tmp_path / f"{name}.nii.gz", np.ones((4, 5, 6), np.uint8), grid)
    assert (tmp_path / "b.nii.gz").read_bytes() == (tmp_path / "c.nii.gz").read_bytes()


class TestRefused:
    def test_a_gzip_cut_anywhere(self, tmp_path):
        whole = save(tmp_path / "whole.nii.gz", np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16))
        content = whole.read_bytes()
        path = tmp_path / "cut.nii.gz"
        for length in (0, 1, 9, 20, 200, len(content) // 2, len(content) - 9, len(content) - 8, len(content) - 1):
            path.write_bytes(content[:length])
            with pytest.raises(VolumeError, match=r"cut\.nii\.gz: .+; .+"):
                read_volume(path)

    def test_one_flipped_bit(self, tmp_path):
        path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 99, (9, 9, 9)).astype(np.int16))
        content = bytearray(path.read_bytes())
        content[-20] ^= 0x10
        path.write_bytes(content)
        with pytest.raises(VolumeError, match="not a whole gzip file"):
            read_volume(path)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "the file is empty"),
            (b"hello world" * 100, "not a NIfTI"),
            (b"\x5c\x01\0\0" + bytes(600), "not a single-file NIfTI"),
        ],
    )
    def test_what_is_no_nifti(self, tmp_path, content, told):
        path = tmp_path / "a.nii"
        path.write_bytes(content)
        with pytest.raises(VolumeError, match=told):
            read_volume(path)

    @pytest.mark.parametrize(("shape", "told"), [((5, 6), r"shape \(5, 6\)"), ((5, 6, 7, 2), r"shape \(5, 6, 7, 2\)")])
    def test_what_is_not_three_dimensional(self, tmp_path, shape, told):
        with pytest.raises(VolumeError, match=f"{told}; give one 3-D volume a file"):
            read_volume(save(tmp_path / "a.nii.gz", np.zeros(shape, np.int16)))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_voxels_that_are_no_numbers(self, tmp_path, value):
        voxels = np.zeros((3, 4, 5))
        voxels[1, 2, 3] = value
        with pytest.raises(VolumeError, match="1 voxels are NaN or infinite; replace them"):
            read_volume(save(tmp_path / "a.nii.gz", voxels))

    def test_complex_voxels(self, tmp_path):
        with pytest.raises(VolumeError, match="type complex64, not numbers"):
            read_volume(save(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.complex64)))

    def test_a_header_without_orientation(self, tmp_path):
        image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), kits_affine())
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        nib.save(image, tmp_path / "a.nii.gz")
        with pytest.raises(VolumeError, match="no orientation"):
            read_volume(tmp_path / "a.nii.gz")

    @pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
    def test_an_affine_without_volume(self, tmp_path, bad):
        affine = kits_affine()
        image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), affine)
        image.header["srow_z"] = [bad, 0, 0, 0]
        image.header["qform_code"], image.header["sform_code"] = 0, 1
        (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4) + bytes(120))
        raw = bytearray((tmp_path / "a.nii").read_bytes())
        raw[108:112], raw[344:348] = np.float32(352).tobytes(), b"n+1\0"
        (tmp_path / "a.nii").write_bytes(raw)
        with pytest.raises(VolumeError, match="not finite or has no volume"):
            read_volume(tmp_path / "a.nii")

    def test_a_header_that_promises_more_than_the_file_can_hold(self, tmp_path):
        path = save(tmp_path / "a.nii", np.zeros((3, 4, 5), np.int16))
        raw = bytearray(path.read_bytes())
        raw[42:48] = np.array([30000, 30000, 30000], np.int16).tobytes()
        path.write_bytes(raw)
        with pytest.raises(VolumeError, match="more than the file can hold"):
            read_volume(path)

    @pytest.mark.parametrize("value", [0.5, -1.0, 256.0, np.nan])
    def test_labels_that_are_no_labels(self, tmp_path, value):
        voxels = np.zeros((3, 4, 5))
        voxels[1, 1, 1] = value
        with pytest.raises(LabelError, match=r"1 or more voxels are no label .* whole numbers from 0 to 255"):
            read_labels(save(tmp_path / "a.nii.gz", voxels))

    def test_labels_of_another_shape(self, tmp_path):
        grid = read_grid(save(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.int16)))
        with pytest.raises(GeometryError, match=r"\(5, 4, 3\) for a grid of \(3, 4, 5\)"):
            write_labels(tmp_path / "b.nii.gz", np.zeros((5, 4, 3), np.uint8), grid)


class TestReplacing:
    def test_nothing_is_visible_before_the_end_or_after_a_failure(self, tmp_path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")
        with replacing(path) as raw:
            raw.write(b"new")
            assert path.read_bytes() == b"old"
        assert path.read_bytes() == b"new"

        def fail() -> None:
            with replacing(path) as raw:
                raw.write(b"half")
                raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            fail()
        assert path.read_bytes() == b"new"
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path):
        (tmp_path / "file").touch()
        with (
            pytest.raises(OutputError, match=r"cannot be written \(.+\); check space"),
            replacing(tmp_path / "file" / "a"),
        ):
            pass


@settings(max_examples=400)
@given(
    place=st.integers(0, 470), patch=st.binary(min_size=1, max_size=8), cut=st.one_of(st.none(), st.integers(0, 471))
)
def test_a_damaged_header_is_read_or_told(tmp_path_factory, place, patch, cut):
    """A whole NIfTI-1 of 60 voxels with some bytes of it overwritten, or cut short."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), kits_affine())
    content = bytearray(image.to_bytes())
    content[place : place + len(patch)] = patch
    path: Path = tmp_path_factory.mktemp("fuzz") / "a.nii"
    path.write_bytes(content[:cut])
    with contextlib.suppress(VolumeError):
        volume = read_volume(path)
        assert volume.voxels.shape == volume.grid.shape


@pytest.mark.parametrize("offset", [np.nan, np.inf, 1e20, -5.0, 17.0])
def test_an_impossible_offset_is_told(tmp_path, offset):
    content = bytearray(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), kits_affine()).to_bytes())
    content[108:112] = np.float32(offset).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(VolumeError, match="vox_offset is"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("case", ["case_00004", "case_00015", "case_00157", "case_00160", "case_00151"])
def test_real_labels_read_and_written_back_keep_shape_affine_and_voxels(kits_labels, tmp_path, case):
    """uint16 with a qform alone (15, 157), 252 x 512 x 796 (160), 512 x 512 x 1059 (151)."""
    source = kits_labels / case / "segmentation.nii.gz"
    labels = read_labels(source)
    write_labels(tmp_path / "out.nii.gz", labels.voxels, labels.grid)
    before, after = nib.load(source), nib.load(tmp_path / "out.nii.gz")
    assert after.shape == before.shape
    assert np.array_equal(after.affine, before.affine)
    for form in ("get_sform", "get_qform"):
        assert getattr(after, form)(coded=True)[1] == getattr(before, form)(coded=True)[1]
    assert np.array_equal(np.asanyarray(after.dataobj), np.asanyarray(before.dataobj))
    assert labels.grid.orientation == "IPL"
