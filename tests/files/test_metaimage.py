"""MetaImage, against SimpleITK as the independent reader and writer, and Grand Challenge's folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from hypothesis import given
from hypothesis import strategies as st

from kits_submit.errors import GeometryError, VolumeError
from kits_submit.files.cases import find_cases, prediction_path
from kits_submit.files.volume import read_grid, read_labels, read_volume, write_labels
from tests.commands.test_run import run, scan

STRAIGHT = np.eye(3)


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """About x, then y, then z."""
    a, b, c = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def save_mha(
    path: Path,
    voxels_kji: np.ndarray,
    *,
    origin: tuple[float, float, float] = (-12.3, 45.6, -789.1),
    spacing: tuple[float, float, float] = (0.75, 0.75, 3.0),
    direction: np.ndarray = STRAIGHT,
    compress: bool = True,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(voxels_kji)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction.ravel())
    image.SetMetaData("PatientName", "Nobody^Else")
    sitk.WriteImage(image, str(path), compress)
    return path


def corners_mm(path: Path) -> np.ndarray:
    """RAS of the first voxel and of one step along each stored axis, by ITK's own arithmetic."""
    image = sitk.ReadImage(str(path))
    lps = [image.TransformIndexToPhysicalPoint(index) for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    return np.array(lps) * (-1, -1, 1)


@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    origin=st.tuples(*[st.floats(-1000, 1000)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    compress=st.booleans(),
)
def test_geometry_and_voxels_make_the_round_trip_at_any_direction(tmp_path_factory, degrees, origin, spacing, compress):
    folder = tmp_path_factory.mktemp("mha")
    voxels = np.random.default_rng(0).integers(-1024, 2000, (5, 4, 3)).astype(np.int16)
    direction = rotation(degrees)
    source = save_mha(folder / "a.mha", voxels, origin=origin, spacing=spacing, direction=direction, compress=compress)

    volume = read_volume(source)
    points = corners_mm(source)
    affine = volume.grid.affine
    assert np.allclose(affine[:3, 3], points[0], atol=1e-9)
    assert np.allclose(affine[:3, :3].T, points[1:] - points[0], atol=1e-9)
    assert np.array_equal(volume.grid.stored_view(volume.voxels), voxels.transpose())

    labels = (np.arange(60) % 3).reshape(volume.grid.shape).astype(np.uint8)
    write_labels(folder / "out.mha", labels, volume.grid)
    before, after = sitk.ReadImage(str(source)), sitk.ReadImage(str(folder / "out.mha"))
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(after, what)() == getattr(before, what)()
    assert after.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(after).transpose(), volume.grid.stored_view(labels))
    assert np.array_equal(read_labels(folder / "out.mha").voxels, labels)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_numeric_type_is_read(tmp_path, dtype):
    voxels = np.random.default_rng(0).integers(0, 100, (3, 4, 5)).astype(dtype)
    path = save_mha(tmp_path / "a.mha", voxels)
    grid = read_grid(path)
    assert np.array_equal(grid.stored_view(read_volume(path).voxels), voxels.transpose().astype(np.float32))


def test_a_big_volume_streams_in_several_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("kits_submit.files.nifti.CHUNK_BYTES", 1000)
    voxels = np.random.default_rng(0).integers(-9, 9, (40, 30, 20)).astype(np.int16)
    for compress in (False, True):
        volume = read_volume(save_mha(tmp_path / "a.mha", voxels, compress=compress))
        assert np.array_equal(volume.grid.stored_view(volume.voxels), voxels.transpose())


def test_a_big_endian_file_is_read(tmp_path):
    path = save_mha(tmp_path / "a.mha", np.zeros((3, 4, 5), np.int16), compress=False)
    head, _, _ = path.read_bytes().partition(b"LOCAL\n")
    head = head.replace(b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True")
    path.write_bytes(head + b"LOCAL\n" + np.arange(60, dtype=">i2").tobytes())
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert expected.ravel()[:3].tolist() == [0, 1, 2]
    volume = read_volume(path)
    assert np.array_equal(volume.grid.stored_view(volume.voxels), expected.transpose())


def test_no_text_of_the_image_reaches_the_mask(tmp_path):
    source = save_mha(tmp_path / "a.mha", np.zeros((3, 4, 5), np.int16))
    assert b"Nobody" in source.read_bytes()
    grid = read_grid(source)
    write_labels(tmp_path / "out.mha", np.zeros(grid.shape, np.uint8), grid)
    assert b"Nobody" not in (tmp_path / "out.mha").read_bytes()
    with pytest.raises(GeometryError, match="this is a bug"):
        write_labels(tmp_path / "out.mha", np.zeros((1, 2, 3), np.uint8), grid)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"NDims = 3", b"NDims = 2", "NDims '2'"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4", "DimSize '5 4'"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4 -3", "DimSize '5 4 -3'"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4 30000", "more than the file can hold"),
        (b"ElementType = MET_SHORT", b"ElementType = MET_STRING", "voxels of type 'MET_STRING'"),
        (b"ElementSpacing = 0.75", b"ElementSpacing = 0.0", "has no volume"),
        (b"ElementSpacing = 0.75", b"ElementSpacing = -.75", "has no volume"),
        (b"ElementSpacing = 0.75", b"ElementSpacing = nan", "not finite"),
        (b"ElementSpacing = 0.75", b"ElementSpacing = abc", "missing, not finite"),
        (b"ElementSpacing = 0.75 ", b"ElementSpacing = ", "missing, not finite"),
        (b"TransformMatrix = 1 0 0 0 1 0", b"TransformMatrix = 1 0 0 1 0 0", "has no volume"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = a.raw", "in another file"),
        (b"ObjectType = Image", b"ObjectType : Image", "not a MetaImage file"),
    ],
)
def test_a_wrong_header_is_told(tmp_path, old, new, told):
    path = save_mha(tmp_path / "a.mha", np.zeros((3, 4, 5), np.int16))
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(VolumeError, match=told):
        read_volume(path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_file_is_told(tmp_path, compress):
    voxels = np.random.default_rng(0).integers(-1024, 2000, (20, 20, 20)).astype(np.int16)
    path = save_mha(tmp_path / "a.mha", voxels, compress=compress)
    content = path.read_bytes()
    path.write_bytes(content[:-2000])
    with pytest.raises(VolumeError, match=r"end early|more than the file can hold"):
        read_volume(path)
    if compress:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(VolumeError, match="hecksum"):
            read_volume(path)
    path.write_bytes(b"")
    with pytest.raises(VolumeError, match=r"not a MetaImage file|the file is empty"):
        read_volume(path)
    with pytest.raises(VolumeError, match="cannot be read"):
        read_volume(tmp_path / "none.mha")


def test_grand_challenges_folders(tmp_path, threshold_model):
    """`images/ct/UID.mha` to `images/kidney-tumor-and-cyst/UID.mha`, on the same grid, the name as it is."""
    hu, labels = scan()
    names = ("1.2.840.10008.mha", "case_7.mha")
    for name in names:
        save_mha(
            tmp_path / "in" / "images" / "ct" / name, hu.astype(np.int16), spacing=(0.8, 0.8, 3.0),
            direction=np.diag([1.0, 1.0, -1.0]),
        )  # fmt: skip
    assert [case.case_id for case in find_cases(tmp_path / "in")] == [name[:-4] for name in sorted(names)]
    out = tmp_path / "out"
    assert run("run", tmp_path / "in", out, "--model", threshold_model(), "--device", "cpu") == 0
    masks = out / "images" / "kidney-tumor-and-cyst"
    assert sorted(path.name for path in masks.iterdir()) == sorted(names)
    assert not list(out.glob("*.mha"))
    for name in names:
        source, mask = (sitk.ReadImage(str(p)) for p in (tmp_path / "in" / "images" / "ct" / name, masks / name))
        assert (mask.GetOrigin(), mask.GetDirection()) == (source.GetOrigin(), source.GetDirection())
        assert np.array_equal(sitk.GetArrayFromImage(mask), labels)


def test_a_metaimage_elsewhere_gets_an_ordinary_name(tmp_path, threshold_model):
    save_mha(tmp_path / "in" / "case_00003.mha", scan()[0].astype(np.int16))
    assert run("run", tmp_path / "in", tmp_path / "out", "--model", threshold_model(), "--device", "cpu") == 0
    assert (tmp_path / "out" / "prediction_00003.mha").is_file()
    assert prediction_path("case_00003", Path("in/case_00003.nii")) == Path("prediction_00003.nii.gz")
