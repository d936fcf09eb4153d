"""A PACS export: series told apart, ordered and read, whatever the files are called and however they are packed."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra dicom")

from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from kits_submit.errors import GeometryError, InputError, KitsError, VolumeError
from kits_submit.files.cases import find_cases
from kits_submit.files.dicom.discover import discover
from kits_submit.files.volume import open_planes, read_volume
from tests.conftest import ROOT, present
from tests.files.dicom.exports import PATIENT, SPACING, block_hu, files_of, rewritten, write_series


def read(source: Path) -> np.ndarray:
    """HU in Z, Y, X of the one series in it."""
    (case,) = find_cases(source)
    assert case.image is not None
    return read_volume(case.image).voxels


def refusal(source: Path) -> str:
    with pytest.raises(KitsError) as told:
        read(source)
    line = str(told.value)
    assert "\n" not in line
    assert "Roe" not in line
    assert "4711" not in line
    return line


def canonical() -> np.ndarray:
    """`block_hu` of a head-first supine scan, whose slices ascend: Z runs to the feet."""
    return block_hu()[::-1]


def test_series_of_shared_is_its_nifti_twin() -> None:
    (case,) = find_cases(present("data", "dicom", "CRLM-CT-1006"))
    assert case.image is not None
    ours = read_volume(case.image)
    twin = read_volume(present("data", "realct", "case_90001") / "imaging.nii.gz")
    np.testing.assert_array_equal(ours.voxels, twin.voxels)
    np.testing.assert_allclose(ours.grid.affine, twin.grid.affine, atol=1e-6)
    assert ours.grid.stored_shape == twin.grid.stored_shape


def test_files_may_have_any_name_in_any_order(tmp_path: Path) -> None:
    names = ["z", "scan.nii.txt", "00.jpg", "no ending", "B", "a"]
    write_series(
        tmp_path / "deep" / "er", name=lambda k: names[k], change=lambda k, ds: setattr(ds, "InstanceNumber", 9 - k)
    )
    np.testing.assert_array_equal(read(tmp_path), canonical())


def test_zip_and_dicomdir(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "export")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for path in files_of(folder):
            archive.write(path, f"DICOM/{path.name}")
    np.testing.assert_array_equal(read(tmp_path / "export.zip"), canonical())
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    np.testing.assert_array_equal(read(folder / "DICOMDIR"), canonical())


@pytest.mark.parametrize(
    ("axes", "turned"),
    [
        ((1, 0, 0, 0, 1, 0), np.s_[::-1, :, :]),  # head first, supine: slices ascend
        (
            (1, 0, 0, 0, -1, 0),
            np.s_[:, ::-1, :],
        ),  # rows to the front, as of a prone scan: the normal points to the feet
        ((-1, 0, 0, 0, 1, 0), np.s_[:, :, ::-1]),  # feet first, supine
        ((-1, 0, 0, 0, -1, 0), np.s_[::-1, ::-1, ::-1]),  # prone
    ],
)
def test_positions_tell_the_orientation(tmp_path: Path, axes: tuple[float, ...], turned: Any) -> None:
    np.testing.assert_array_equal(read(write_series(tmp_path, axes=axes)), block_hu()[turned])


def test_slope_and_intercept_are_of_each_slice(tmp_path: Path) -> None:
    def change(k: int, ds: Any) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = 1 + k, 10 * k

    write_series(tmp_path, change=change)
    stored = block_hu().astype(np.float32) + 1024
    wanted = np.stack([plane * (1 + k) + 10 * k for k, plane in enumerate(stored)])
    np.testing.assert_array_equal(read(tmp_path), wanted[::-1])


@pytest.mark.parametrize("uid", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_by_pydicom(tmp_path: Path, uid: str) -> None:
    for path in files_of(write_series(tmp_path)):
        rewritten(path, lambda ds: ds.compress(uid, generate_instance_uid=False))
    np.testing.assert_array_equal(read(tmp_path), canonical())


def test_deflated(tmp_path: Path) -> None:
    for path in files_of(write_series(tmp_path)):
        rewritten(path, lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    np.testing.assert_array_equal(read(tmp_path), canonical())


@pytest.mark.parametrize(
    "command",
    ["dcmcjpeg", "dcmcjpeg +el", "dcmcjpls", "dcmcrle", "dcmconv +tb", "dcmconv +ti", "dcmconv +td",
     "gdcmconv --j2k", "gdcmconv --jpegls", "gdcmconv --jpeg", "gdcmconv --rle"],
)  # fmt: skip
def test_transcoded_by_others(tmp_path: Path, command: str) -> None:
    tool, *options = command.split()
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool} (dcmtk or libgdcm-tools)")
    options = options if tool != "dcmcjpls" else ["+el"]
    out = tmp_path / "out"
    out.mkdir()
    for path in files_of(write_series(tmp_path / "in")):
        subprocess.run([tool, *options, str(path), str(out / path.name)], check=True, capture_output=True)
    np.testing.assert_array_equal(read(out), canonical())


@pytest.mark.parametrize(
    ("command", "within_hu"),
    [("dcmcjpeg +ee +q 95", 60), ("dcmcjpls +en", 8), ("gdcmconv --j2k --irreversible -q 40", 60)],
)
def test_lossy(tmp_path: Path, command: str, within_hu: float) -> None:
    """Extended JPEG of 12 bits, near-lossless JPEG-LS, lossy JPEG 2000: read, and near."""
    tool, *options = command.split()
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool} (dcmtk or libgdcm-tools)")
    out = tmp_path / "out"
    out.mkdir()
    for path in files_of(write_series(tmp_path / "in")):
        subprocess.run([tool, *options, str(path), str(out / path.name)], check=True, capture_output=True)
    np.testing.assert_allclose(read(out), canonical(), atol=within_hu)


def test_a_decoder_of_every_jpeg_is_in_the_extra_and_none_is_under_the_gpl() -> None:
    from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS

    compressed = [name for name in _PIXEL_DATA_DECODERS if name.is_compressed and not name.is_deflated]
    assert len(compressed) >= 12
    for name in compressed:
        assert _PIXEL_DATA_DECODERS[name][0].is_available, name.name
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dicom"]
    assert not any(need.startswith("pylibjpeg-libjpeg") for need in extra)


def test_multi_frame(tmp_path: Path) -> None:
    import highdicom
    import pydicom

    single = [pydicom.dcmread(path) for path in files_of(write_series(tmp_path / "single"))]
    multi = highdicom.legacy.LegacyConvertedEnhancedCTImage(single, "1.2.3.4", 5, "1.2.3.5", 1)
    (tmp_path / "multi").mkdir()
    multi.save_as(tmp_path / "multi" / "one")
    np.testing.assert_array_equal(read(tmp_path / "multi"), canonical())


def test_missing_slice_is_told(tmp_path: Path) -> None:
    (write_series(tmp_path) / "IM0002").unlink()
    assert (
        "after slice 2 of 5 (32.00 mm, instance number 2) the next lies 4.00 mm on, elsewhere 2.00 mm: 1 missing"
        in (refusal(tmp_path))
    )


def test_doubled_file_is_one_slice_and_doubled_place_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path)
    shutil.copy(tmp_path / "IM0003", tmp_path / "again")
    np.testing.assert_array_equal(read(tmp_path), canonical())
    rewritten(tmp_path / "again", lambda ds: setattr(ds, "SOPInstanceUID", "1.2.3"))
    assert "lie at the same place" in refusal(tmp_path)


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    write_series(tmp_path)
    write_series(tmp_path, block_hu() + 7, uid="1.2.3.99", name="other{}".format)
    voxels = [read_volume(case.image).voxels for case in find_cases(tmp_path) if case.image]
    assert sorted(float(v.max()) for v in voxels) == [260.0, 267.0]


def test_same_series_under_another_uid_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path)
    write_series(tmp_path, uid="1.2.3.99", name="other{}".format)
    assert len(find_cases(tmp_path)) == 1
    assert any(series.left_out.startswith("a copy of ct_") for series in discover(tmp_path))


@pytest.mark.parametrize("degrees", [0.0, 10.0, 20.0, -15.0])
def test_tilt_is_undone(tmp_path: Path, degrees: float) -> None:
    """A body that does not change along its own axis across the planes stands upright again."""
    z, y, x = 12, 40, 10
    angle = np.deg2rad(degrees)
    rows = np.arange(y)[None, :, None] * SPACING[1] + np.arange(z)[:, None, None] * SPACING[0] * -np.sin(angle)
    hu = np.broadcast_to(np.clip(1000 - np.abs(rows - 18) * 40, -1000, 1000), (z, y, x)).round().astype(np.int16)
    (case,) = find_cases(write_series(tmp_path, hu, tilt_degrees=degrees))
    assert case.image is not None
    volume = read_volume(case.image)
    affine = volume.grid.affine[:3, :3] / np.linalg.norm(volume.grid.affine[:3, :3], axis=0)
    np.testing.assert_allclose(affine.T @ affine, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(volume.grid.spacing_mm[0], SPACING[0] * np.cos(angle), rtol=1e-5)
    peaks = volume.voxels[:, :, 5].argmax(axis=1)
    assert np.ptp(peaks) <= 1


def test_streams_slice_by_slice(tmp_path: Path) -> None:
    (case,) = find_cases(write_series(tmp_path))
    assert case.image is not None
    with open_planes(case.image) as planes:
        assert (planes.axis, planes.descending) == (0, True)
        first, plane = next(iter(planes.stream))
    assert first == 5
    np.testing.assert_array_equal(plane, block_hu()[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda k, ds: k == 3 and delattr(ds, "PixelData"), r"slice 4 of 6 .* has no pixel data"),
        (lambda k, ds: k == 3 and setattr(ds, "Rows", 10), r"slice 4 of 6 .* has 10 x 48 voxels, the others 40 x 48"),
        (
            lambda k, ds: k == 3 and setattr(ds, "ImageOrientationPatient", [0, 1, 0, 0, 0, 1]),
            r"is turned against the others",
        ),
        (lambda k, ds: k == 3 and delattr(ds, "ImagePositionPatient"), "instance 4 has no usable position"),
        (lambda k, ds: setattr(ds, "Modality", "MR"), "no CT series that can be a volume: ct_.* is of modality MR"),
        (lambda k, ds: k and setattr(ds, "Rows", None), "is one slice, no volume"),
        (lambda k, ds: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), "is a localiser"),
        (
            lambda k, ds: (
                setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.104.1"),
                setattr(ds.file_meta, "MediaStorageSOPClassUID", "1.2.840.10008.5.1.4.1.1.104.1"),
            ),
            "is an encapsulated PDF",
        ),
        (
            lambda k, ds: setattr(ds, "ImagePositionPatient", [-10 + 3 * k, -20, 30 + 2 * k]),
            "aside of the stack",
        ),
    ],
)
def test_what_is_no_volume_is_told_in_one_line(tmp_path: Path, change: Any, told: str) -> None:
    import re

    assert re.search(told, refusal(write_series(tmp_path, change=change)))


def test_truncated_file_in_the_middle(tmp_path: Path) -> None:
    path = write_series(tmp_path) / "IM0003"
    path.write_bytes(path.read_bytes()[:-100])
    assert "slice 4 of 6 (36.00 mm, instance number 4) ends early" in refusal(tmp_path)


def test_a_file_of_a_damaged_header_is_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last slice is missing then, which no gap tells."""
    from kits_submit.commands.series import chosen, series_command

    folder = write_series(tmp_path)
    for path in files_of(folder):
        rewritten(path, lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    path = folder / "IM0005"
    path.write_bytes(path.read_bytes()[:400] + bytes(200))
    cases, notes = chosen(find_cases(folder), folder, ())
    assert len(cases) == 1
    assert notes == ["unreadable is left out: 1 DICOM file whose header cannot be read"]
    series_command(folder)
    assert "unreadable" in capsys.readouterr().out


@pytest.mark.parametrize("uid", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_truncated_compressed_file(tmp_path: Path, uid: str) -> None:
    for path in files_of(write_series(tmp_path)):
        rewritten(path, lambda ds: ds.compress(uid, generate_instance_uid=False))
    path = tmp_path / "IM0003"
    path.write_bytes(path.read_bytes()[:-400])
    assert "slice 4 of 6" in refusal(tmp_path)


def test_private_transfer_syntax(tmp_path: Path) -> None:
    for path in files_of(write_series(tmp_path)):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"))
    assert "private" in refusal(tmp_path)


def test_missing_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in files_of(write_series(tmp_path)):
        rewritten(path, lambda ds: ds.compress(JPEG2000Lossless, generate_instance_uid=False))
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    assert "pip install 'kits-submit[dicom]'" in refusal(tmp_path)


def test_extra_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kits_submit.files.dicom import needs

    def gone(name: str) -> Any:
        raise ImportError(name)

    write_series(tmp_path)
    needs.need.cache_clear()
    monkeypatch.setattr(needs.importlib, "import_module", gone)
    with pytest.raises(InputError, match=r"pip install 'kits-submit\[dicom\]'"):
        find_cases(tmp_path)
    monkeypatch.undo()
    needs.need.cache_clear()


def test_a_broken_series_leaves_the_others(tmp_path: Path) -> None:
    (write_series(tmp_path / "a") / "IM0002").unlink()
    write_series(tmp_path / "b", uid="1.2.3.99")
    images = [case.image for case in find_cases(tmp_path) if case.image]
    assert len(images) == 2
    outcomes = []
    for image in images:
        try:
            outcomes.append(str(read_volume(image).voxels.shape))
        except (GeometryError, VolumeError) as error:
            outcomes.append(type(error).__name__)
    assert sorted(outcomes) == ["(6, 40, 48)", "GeometryError"]


def test_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match="no case found"):
        find_cases(tmp_path)
    assert PATIENT  # the series above carry one
