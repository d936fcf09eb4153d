"""A mask as a DICOM Segmentation and a report, and the way back: what other readers see, and what we read as labels."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra dicom")

import pydicom
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from kits_submit.errors import GeometryError, LabelError
from kits_submit.files.cases import find_cases, find_masks
from kits_submit.files.dicom.codes import ALTERED, KIDNEY, STRUCTURE, TYPES, Maker, role_of
from kits_submit.files.dicom.contours import filled
from kits_submit.files.dicom.outlines import outlines
from kits_submit.files.masks import write_mask
from kits_submit.files.volume import read_grid, read_labels
from kits_submit.labels import Role
from kits_submit.types import Labels
from tests.conftest import write_threshold_model
from tests.files.dicom.exports import block_hu, files_of, write_series


def mask() -> Labels:
    """Z, Y, X: kidney, a tumor in it, a cyst beside that."""
    labels = np.zeros((6, 40, 48), np.uint8)
    labels[1:5, 4:20, 6:30] = 1
    labels[2:4, 6:12, 8:20] = 2
    labels[3:5, 14:18, 8:12] = 3
    return labels


def written(folder: Path, source: Path, also: tuple[str, ...] = ()) -> Path:
    (case,) = find_cases(source)
    assert case.image is not None
    path = folder / case.target
    write_mask(path, mask(), read_grid(case.image), Maker(model="ab" * 32), also)
    return path


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    return written(tmp_path, write_series(tmp_path / "ct"), ("nifti", "labelmap", "sr", "rtstruct"))


def as_stored() -> Labels:
    """Slice, row, column of the series, which ascends."""
    return mask()[::-1]


def placed(frames: np.ndarray, ds: Dataset) -> Labels:
    """Frames as slice, row, column of the series, each where its functional groups put it."""
    found = np.zeros((6, *frames.shape[1:]), np.uint8)
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        z = groups.PlanePositionSequence[0].ImagePositionPatient[2]
        found[round((z - 30) / 2)][frame > 0] = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    return found


def test_highdicom_reads_it_back(seg: Path) -> None:
    import highdicom

    read = highdicom.seg.segread(seg)
    references = [pydicom.dcmread(path) for path in files_of(seg.parent / "ct")]
    frames = read.get_pixels_by_source_instance([ds.SOPInstanceUID for ds in references], combine_segments=True)
    np.testing.assert_array_equal(frames, as_stored())


def test_pydicom_alone_reads_it_back(seg: Path) -> None:
    ds = pydicom.dcmread(seg)
    np.testing.assert_array_equal(placed(ds.pixel_array, ds), as_stored())
    source = pydicom.dcmread(seg.parent / "ct" / "IM0000")
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert ds[name].value == source[name].value
    kidney, tumor, cyst = ds.SegmentSequence
    kinds = [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in (kidney, tumor, cyst)]
    assert kinds == ["64033007", "108369006", "367643001"]
    assert tumor.AnatomicRegionSequence[0].CodeValue == "64033007"
    assert "ab" * 32 in str(tumor.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters)


def test_simpleitk_reads_it_back(seg: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(seg)))
    np.testing.assert_array_equal(placed(frames, pydicom.dcmread(seg)), as_stored())


@pytest.mark.parametrize("suffix", [".dcm", ".sr.dcm", ".rtstruct.dcm"])
def test_dciodvfy_has_no_error(seg: Path, suffix: str) -> None:
    """It does not inflate, so it is given the same object uncompressed."""
    if shutil.which("dciodvfy") is None or shutil.which("dcmconv") is None:
        pytest.skip("needs dciodvfy (dicom3tools) and dcmconv (dcmtk)")
    flat = seg.parent / "flat.dcm"
    subprocess.run(["dcmconv", "+te", seg.with_suffix(suffix), flat], check=True)
    told = subprocess.run(["dciodvfy", flat], capture_output=True, text=True, check=False)
    assert not [line for line in (told.stderr + told.stdout).splitlines() if "Error" in line]


def test_dcmtk_reads_seg_and_report(seg: Path) -> None:
    if shutil.which("dsr2html") is None:
        pytest.skip("needs dcmdump and dsr2html (dcmtk)")
    for suffix in (".dcm", ".labelmap.dcm", ".rtstruct.dcm"):
        subprocess.run(["dcmdump", seg.with_suffix(suffix)], check=True, capture_output=True)
    page = subprocess.run(["dsr2html", seg.with_suffix(".sr.dcm")], check=True, capture_output=True, text=True).stdout
    tumor_ml = int((mask() == 2).sum()) * 2.0 * 0.9 * 0.8 / 1000
    assert f"{tumor_ml:.4f}".rstrip("0") in page


@pytest.mark.parametrize("name", ["prediction_{}.dcm", "prediction_{}.labelmap.dcm", "prediction_{}.nii.gz"])
def test_our_own_are_labels(seg: Path, name: str) -> None:
    (case,) = find_cases(seg.parent / "ct")
    alone = seg.parent / "alone"
    alone.mkdir()
    shutil.copy(seg.parent / name.format(case.case_id), alone)
    labels = read_labels(alone / name.format(case.case_id))
    np.testing.assert_array_equal(labels.voxels, mask())
    assert case.image is not None
    np.testing.assert_allclose(labels.grid.affine, read_grid(case.image).affine, atol=1e-6)


def test_tilted_series_keeps_its_slices(tmp_path: Path) -> None:
    """The mask of the upright grid moves back: its plane k lies on source slice k, shifted by the tilt alone."""
    source = write_series(tmp_path / "ct", tilt_degrees=20)
    (case,) = find_cases(source)
    assert case.image is not None
    grid = read_grid(case.image)
    labels = np.zeros(grid.shape, np.uint8)
    labels[:, 12:20, 5:9] = 1
    path = tmp_path / "prediction_x.dcm"
    write_mask(path, labels, grid, Maker(), ("nifti",))
    ds = pydicom.dcmread(path)
    assert (ds.Rows, ds.Columns) == (40, 48)
    frames = placed(ds.pixel_array, ds)
    tops = frames.any(axis=2).argmax(axis=1)
    exact = np.arange(6) * 2 * np.sin(np.deg2rad(20)) / 0.9  # columns of voxels run against the table's way
    np.testing.assert_allclose(tops - tops[0], exact, atol=1)
    np.testing.assert_array_equal(frames.any(axis=2).sum(axis=1), [8] * 6)
    np.testing.assert_array_equal(read_labels(path).voxels, read_labels(path.with_suffix(".nii.gz")).voxels)


def structure_set(folder: Path, source: Path, name: str = "Left kidney") -> Path:
    """A square of voxels 10 .. 20 by 5 .. 15 with a hole in it, on slice 2."""
    reference = pydicom.dcmread(files_of(source)[2])
    ds = Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.77"
    ds.Modality, ds.SeriesInstanceUID, ds.StudyInstanceUID = "RTSTRUCT", "1.2.3.7", reference.StudyInstanceUID

    def nested(**values: Any) -> Dataset:
        inner = Dataset()
        for key, value in values.items():
            setattr(inner, key, value)
        return inner

    series = nested(SeriesInstanceUID=reference.SeriesInstanceUID)
    study = nested(RTReferencedSeriesSequence=[series])
    ds.ReferencedFrameOfReferenceSequence = [nested(RTReferencedStudySequence=[study])]
    ds.StructureSetROISequence = [nested(ROINumber=1, ROIName=name)]
    x0, y0, z0 = (float(v) for v in reference.ImagePositionPatient)

    def square(top: float, left: float, bottom: float, right: float) -> Dataset:
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        data = [v for x, y in corners for v in (x0 + 0.8 * x, y0 + 0.9 * y, z0)]
        return nested(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=data)

    contours = [square(9.5, 4.5, 20.5, 15.5), square(12.5, 7.5, 14.5, 9.5)]
    ds.ROIContourSequence = [nested(ReferencedROINumber=1, ContourSequence=contours)]
    path = folder / "rs.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def test_structure_set_is_a_label_map(tmp_path: Path) -> None:
    source = write_series(tmp_path / "ct")
    path = structure_set(tmp_path, source)
    wanted = np.zeros((6, 40, 48), np.uint8)
    wanted[2, 10:21, 5:16] = 1
    wanted[2, 13:15, 8:10] = 0
    (case,) = find_cases(tmp_path)
    assert case.label == path
    np.testing.assert_array_equal(read_labels(path).voxels, wanted[::-1])
    assert find_masks(tmp_path) == {case.case_id: path}


def test_training_reads_a_series_with_its_structure_set(tmp_path: Path) -> None:
    from kits_submit.labels import KITS23
    from train.pairs import content_hash, read_pair

    structure_set(tmp_path, write_series(tmp_path / "ct"))
    (case,) = find_cases(tmp_path)
    hu, labels, spacing_mm = read_pair(case, KITS23)
    assert hu.shape == labels.shape
    np.testing.assert_allclose(spacing_mm, (2.0, 0.9, 0.8), rtol=1e-6)
    assert len(content_hash(case)) == 64


@pytest.mark.parametrize("kind", ["seg.dcm", "seg.rtstruct.dcm"])
def test_a_tilted_series_is_trained_on_and_scored_with_its_labels(tmp_path: Path, kind: str) -> None:
    """Labels lie on the slices as they are; the image, and with it training's pair, stands upright."""
    from kits_submit.cli import main
    from kits_submit.labels import KITS19
    from train.pairs import read_pair

    source = write_series(tmp_path / "ct", np.repeat(np.repeat(block_hu((8, 40, 48)), 2, 1), 2, 2), tilt_degrees=12)
    (case,) = find_cases(source)
    assert case.image is not None
    grid = read_grid(case.image)
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:6, 20:50, 20:60] = 1
    labels[2:4, 30:40, 30:40] = 2
    write_mask(tmp_path / "seg.dcm", labels, grid, Maker(), ("rtstruct",))
    shutil.copy(tmp_path / kind, source / "labels.dcm")
    (case,) = find_cases(source)
    hu, voxels, _ = read_pair(case, KITS19)
    assert hu.shape == voxels.shape == grid.shape
    np.testing.assert_array_equal(voxels, labels)
    model, out = write_threshold_model(tmp_path / "m.onnx"), tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["run", str(source), str(out), "--model", str(model), "--device", "cpu"])
    assert ended.value.code == 0
    assert (out / "scores.json").is_file()


def test_other_makers_leave_empty_frames_out(seg: Path) -> None:
    """Then the grid is that of the series beside it."""
    import highdicom

    source = [pydicom.dcmread(path) for path in files_of(seg.parent / "ct")]
    ours = highdicom.seg.segread(seg)
    told = [ours.get_segment_description(number) for number in (1, 2, 3)]
    other = highdicom.seg.Segmentation(
        source, as_stored(), "BINARY", told, "1.2.3.4", 1, "1.2.3.5", 1, "Other", "Other", "1", "1"
    )
    path = seg.parent / "other.dcm"
    other.save_as(path)
    assert len(other.PerFrameFunctionalGroupsSequence) < 18
    np.testing.assert_array_equal(read_labels(path).voxels, mask())


def test_structure_set_of_other_organs_or_without_its_series(tmp_path: Path) -> None:
    source = write_series(tmp_path / "ct")
    with pytest.raises(LabelError, match="no region is a kidney"):
        read_labels(structure_set(tmp_path, source, "Liver"))
    (tmp_path / "alone").mkdir()
    path = structure_set(tmp_path / "alone", source)
    with pytest.raises(GeometryError, match="the CT series that it refers to is not there"):
        read_labels(path)


def test_our_own_structure_set_has_the_same_voxels(seg: Path) -> None:
    """Read as labels, and by matplotlib's rule of what lies inside a path."""
    from matplotlib.path import Path as Outline

    shutil.copy(seg.with_suffix(".rtstruct.dcm"), seg.parent / "ct" / "rs.dcm")
    np.testing.assert_array_equal(read_labels(seg.parent / "ct" / "rs.dcm").voxels, mask())
    ds = pydicom.dcmread(seg.with_suffix(".rtstruct.dcm"))
    assert [roi.ROIName for roi in ds.StructureSetROISequence] == ["kidney", "tumor", "cyst"]
    found = np.zeros((6, 40, 48), np.uint8)
    centres = np.stack(np.meshgrid(np.arange(48) * 0.8 - 10, np.arange(40) * 0.9 - 20), axis=-1).reshape(-1, 2)
    for roi in ds.ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.reshape(np.asarray(contour.ContourData, float), (-1, 3))
            inside = Outline(points[:, :2]).contains_points(centres).reshape(40, 48)
            found[round((points[0, 2] - 30) / 2)][inside] = roi.ReferencedROINumber
    np.testing.assert_array_equal(found, as_stored())


def test_a_structure_set_of_an_empty_mask_has_regions_without_contours(tmp_path: Path) -> None:
    source = write_series(tmp_path / "ct", tilt_degrees=12)
    (case,) = find_cases(source)
    assert case.image is not None
    grid = read_grid(case.image)
    write_mask(tmp_path / "x.dcm", np.zeros(grid.shape, np.uint8), grid, Maker(), ("rtstruct",))
    assert not read_labels(tmp_path / "x.rtstruct.dcm").voxels.any()


def test_a_tilted_series_structure_set_lies_on_its_slices(tmp_path: Path) -> None:
    source = write_series(tmp_path / "ct", tilt_degrees=-17)
    (case,) = find_cases(source)
    assert case.image is not None
    grid = read_grid(case.image)
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:, 12:20, 5:9] = 1
    labels[2:4, 14:17, 6:8] = 2
    write_mask(tmp_path / "x.dcm", labels, grid, Maker(), ("rtstruct",))
    np.testing.assert_array_equal(
        read_labels(tmp_path / "x.rtstruct.dcm").voxels, read_labels(tmp_path / "x.dcm").voxels
    )


@given(seed=st.integers(0, 10**6), shape=st.tuples(st.integers(1, 12), st.integers(1, 12)), share=st.floats(0, 1))
def test_outlines_hold_the_voxels_that_they_were_drawn_around(seed: int, shape: tuple[int, int], share: float) -> None:
    plane = np.random.default_rng(seed).random(shape) < share
    found = np.zeros(shape, np.bool_)
    for points in outlines(plane):
        assert not (found & filled(points, shape)).any()
        found |= filled(points, shape)
    np.testing.assert_array_equal(found, plane)


def test_a_ring_is_one_polygon_with_a_channel() -> None:
    plane = np.ones((3, 3), np.bool_)
    plane[1, 1] = False
    (points,) = outlines(plane)
    assert points.tolist() == [
        [-0.5, -0.5], [2.5, -0.5], [2.5, 2.5], [-0.5, 2.5], [-0.5, 0.75],
        [0.5, 0.75], [0.5, 1.5], [1.5, 1.5], [1.5, 0.5], [0.5, 0.5], [0.5, 0.75], [-0.5, 0.75],
    ]  # fmt: skip


def test_codes_are_those_of_the_standards_tables() -> None:
    """PS3.16 CID 7150 (categories) and 7151 (property types), as pydicom carries them; the volume's of CID 7469."""
    from pydicom.sr.codedict import codes

    for coded, keyword, table in (
        (KIDNEY, "Kidney", codes.cid7151), (TYPES[Role.KIDNEY], "Kidney", codes.cid7151),
        (TYPES[Role.TUMOR], "Neoplasm", codes.cid7151), (TYPES[Role.CYST], "Cyst", codes.cid7151),
        (TYPES[Role.OTHER], "Tissue", codes.cid7150), (STRUCTURE, "AnatomicalStructure", codes.cid7150),
        (ALTERED, "MorphologicallyAbnormalStructure", codes.cid7150),
        (("118565006", "Volume"), "Volume", codes.cid7469),
    ):  # fmt: skip
        held = getattr(table, keyword)
        assert (held.value, held.scheme_designator, held.meaning) == (coded[0], "SCT", coded[1])
    assert (codes.SCT.Mass.value, codes.SCT.RenalCellCarcinoma.value) == ("4147007", "702391001")
    for code in ("4147007", "702391001", "126880001", "108369006"):
        assert role_of(code, "anything") is Role.TUMOR


def test_a_triangle_is_filled_by_centres() -> None:
    """Corners (0, 0), (4, 0), (0, 4): row r holds the columns below 4 - r."""
    inside = filled(np.array([(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)]), (5, 6))
    assert inside.astype(int).tolist() == [
        [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
    ]  # fmt: skip


def test_run_tells_nothing_of_the_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from kits_submit.cli import main

    source = write_series(tmp_path / "ct", np.repeat(np.repeat(block_hu((8, 40, 48)), 2, 1), 2, 2))
    write_series(tmp_path / "ct", uid="1.2.3.4", name="scout{}".format, change=_localiser)
    model = write_threshold_model(tmp_path / "m.onnx")
    out = tmp_path / "out"
    arguments = ["run", str(source), str(out), "--model", str(model), "--device", "cpu", "--also", "nifti"]
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--pictures"])
        assert ended.value.code == 0
    told = capfd.readouterr()
    assert "is left out: a localiser" in told.err
    assert "kept: 1 of 1" in told.err
    case = json.loads((out / "run.json").read_text())["cases"][0]["case"]
    assert sorted(path.name for path in out.iterdir()) == [
        f"{case}.png", f"prediction_{case}.dcm", f"prediction_{case}.nii.gz", "run.json",
    ]  # fmt: skip
    open_to_all = (out / "run.json").read_text() + told.out + told.err
    assert not [word for word in ("Roe", "Jane", "4711", "1950") if word in open_to_all]
    np.testing.assert_array_equal(
        read_labels(out / f"prediction_{case}.dcm").voxels, read_labels(out / f"prediction_{case}.nii.gz").voxels
    )


def test_what_stands_beside_a_mask_is_of_its_run(tmp_path: Path) -> None:
    """Asked for later, it is made; with a mask that no run made again, it goes."""
    from kits_submit.cli import main

    source = write_series(tmp_path / "ct")
    model = write_threshold_model(tmp_path / "m.onnx")
    out = tmp_path / "out"

    def run(*options: str) -> list[str]:
        with pytest.raises(SystemExit):
            main(["run", str(source), str(out), "--model", str(model), "--device", "cpu", *options])
        return sorted(path.name.partition(".")[2] for path in out.glob("prediction_*"))

    assert run() == ["dcm"]
    assert run("--also", "sr", "--also", "rtstruct") == ["dcm", "rtstruct.dcm", "sr.dcm"]
    assert json.loads((out / "run.json").read_text())["cases"][0].get("kept") is None
    assert run("--also", "sr") == ["dcm", "rtstruct.dcm", "sr.dcm"]
    assert json.loads((out / "run.json").read_text())["cases"][0]["kept"]
    assert run("--fresh", "--also", "nifti") == ["dcm", "nii.gz"]
    (source / "IM0003").write_bytes((source / "IM0003").read_bytes()[:-100])
    assert run("--also", "nifti") == []


def _localiser(k: int, ds: Any) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def test_cases_by_patient_when_asked_for(tmp_path: Path) -> None:
    from kits_submit.commands.series import chosen

    source = write_series(tmp_path / "ct")
    (case,), _ = chosen(find_cases(source), source, (), names=True)
    assert case.case_id.startswith("ID-4711_4_")


def test_table_of_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kits_submit.commands.series import series_command

    write_series(tmp_path)
    (write_series(tmp_path / "gap", uid="1.2.3") / "IM0002").unlink()
    series_command(tmp_path)
    table = capsys.readouterr().out
    assert "portal venous" in table
    assert "2 x 0.9 x 0.8" in table
    assert "1 missing" in table
