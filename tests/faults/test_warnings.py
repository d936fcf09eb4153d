"""A word of warning before a wrong mask: what a file is, geometry that lies, values that are no HU."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kits_submit.files.volume import open_planes, read_grid, read_labels
from kits_submit.inference.seen import Seen
from tests.conftest import ROOT, kits_affine, present, save
from tests.faults.conftest import Ended, drive, files, labels_of, mask, rows, scan
from tests.faults.test_cases import case_of, header
from tests.files.test_metaimage import save_mha

MISNAMED = "which its name does not say: read all the same"
IN_HU = "no voxel is under -50 HU"


def named(content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    """Write under a name what the content of a good file becomes."""

    def write(path: Path) -> None:
        content_of = save(path.with_name("good.nii.gz"), scan())
        made = content(content_of)
        content_of.unlink()
        path.write_bytes(made)

    return write


def raw(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def with_mha_lines(path: Path) -> None:
    """A sequence has some lines a frame: a header far over 64 KiB."""
    content = save_mha(path, scan()).read_bytes()
    lines = b"".join(b"Seq_Frame%05d_ImageStatus = OK of a long line\n" % n for n in range(4000))
    path.write_bytes(content.replace(b"DimSize", lines + b"DimSize", 1))


def affine(**columns: tuple[float, float, float]) -> np.ndarray:
    turned = kits_affine()
    for name, column in columns.items():
        turned[:3, "ijk".index(name)] = column
    return turned


def tilted(degrees: float) -> np.ndarray:
    """KiTS's axes turned about X, which stays."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    return turn @ kits_affine()


# name: (writer, what the note says)
NOTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "plain as gz.nii.gz": (named(raw), f"the file is not compressed, {MISNAMED}"),
    "gz as plain.nii": (named(Path.read_bytes), f"the file is compressed by gzip, {MISNAMED}"),
    "gz twice.nii.gz": (
        named(lambda p: gzip.compress(p.read_bytes())), f"the file is compressed 2 times, {MISNAMED}"),
    "sheared.nii.gz": (
        lambda p: save(p, scan(), affine(i=(0, 0.75, -3.0))),
        "its axes are sheared by 14.0 degrees (gantry tilt): volumes are exact, distances approximate"),
    "oblique.nii.gz": (lambda p: save(p, scan(), tilted(30)), "its axes and the patient's differ by 30 degrees"),
    "pixdim.nii.gz": (
        lambda p: header(p, pixdim=[1, 3, 3, 3, 0, 0, 0, 0], srow_x=[1, 0, 0, 0], srow_y=[0, 1, 0, 0],
                         srow_z=[0, 0, 1, 0], qform_code=0),
        "pixdim says 3 x 3 x 3 mm, the affine 1 x 1 x 1 mm: the affine is taken"),
    "slab.nii.gz": (lambda p: save(p, scan()[:3]), "it has 3 slices (9 mm)"),
    "one slice.nii.gz": (lambda p: save(p, scan()[2:3]), "it has 1 slice (3 mm)"),
    "plus 1024.nii.gz": (
        lambda p: save(p, scan() + 1024),
        "no voxel is under -50 HU (least 24, most 1324): is it in HU?; stored +1024? --hu-offset -1024"),
    "padded.nii.gz": (
        lambda p: save(p, np.where(scan() < -900, -3024, scan() + 1024)), "are over 600 HU, denser than a body is"),
    "minus 1024.nii.gz": (lambda p: save(p, scan() - 1024), "are as dense as soft tissue (least -2024, most"),
    "0 to 255.nii.gz": (lambda p: save(p, scan().clip(0, 255).astype(np.uint8)), f"{IN_HU} (least 0, most 255)"),
    "0 to 1.nii.gz": (lambda p: save(p, (scan().clip(0) / 300).astype(np.float32)), f"{IN_HU} (least 0, most 1)"),
    "standardised.nii.gz": (lambda p: save(p, (scan() / 300).astype(np.float32)), f"{IN_HU} (least -3.3"),
    "constant.nii.gz": (lambda p: save(p, np.full((6, 10, 8), 40, np.int16)), "every voxel looked at is 40"),
    "air.nii.gz": (lambda p: save(p, np.full((6, 10, 8), -1000, np.int16)), "every voxel looked at is -1000"),
    "labels.nii.gz": (lambda p: save(p, labels_of(scan())), "whole numbers from 0 to 2 alone: is it a label map?"),
}  # fmt: skip


def header_of_pair(path: Path) -> None:
    nib.save(nib.Nifti1Pair(scan(), kits_affine()), path.with_name("pair.hdr"))
    path.with_name("pair.hdr").rename(path)
    path.with_name("pair.img").unlink()


DICOM = bytes(128) + b"DICM" + bytes(400)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
# name: (content, what the failure says)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    name: (lambda path, content=content: path.write_bytes(content), told)
    for name, (content, told) in {
        "lfs.nii.gz": (LFS, "a git-lfs pointer, not the image; fetch the image: git lfs pull"),
        "lfs 2.mha": (LFS, "a git-lfs pointer, not the image; fetch the image: git lfs pull"),
        "page.nii.gz": (b"<!DOCTYPE html><html>Sign in</html>", "a web page, not an image; download the file itself"),
        "page 2.nii": (b"\n <html>Not found</html>", "a web page, not an image; download the file itself"),
        "xml.nii.gz": (gzip.compress(b"<?xml version='1.0'?><Error/>"), "a web page, not an image"),
        "nothing.nii": (b"", "the file is empty; get it again"),
        "nothing 2.mha": (b"", "the file is empty; get it again"),
        "nothing packed.nii.gz": (gzip.compress(b""), "the file is empty within its compression; get it again"),
        "dicom.nii.gz": (DICOM, "a DICOM file; convert its series to one .nii.gz, as dcm2niix does"),
        "dicom packed.nii.gz": (gzip.compress(DICOM), "a DICOM file"),
        "nrrd.nii.gz": (b"NRRD0004\n# x\n", "a NRRD file; convert it to .nii.gz"),
        "zip.nii.gz": (b"PK\x03\x04" + bytes(40), "a zip file; unpack it"),
        "hdf.nii": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file; convert it to .nii.gz"),
        "netcdf.nii": (b"CDF\x01" + bytes(40), "a NetCDF file; convert it to .nii.gz"),
        "numpy.nii.gz": (b"\x93NUMPY\x01\x00" + bytes(40), "a NumPy file, which has no geometry; convert"),
        "png.nii.gz": (b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG picture; give the CT volume"),
        "jpeg.nii.gz": (b"\xff\xd8\xff\xe0" + bytes(40), "a JPEG picture; give the CT volume"),
        "bzip2.nii.gz": (b"BZh9" + bytes(40), "compressed by bzip2; unpack it, or compress it by gzip"),
        "xz.nii.gz": (b"\xfd7zXZ\x00" + bytes(40), "compressed by xz; unpack it, or compress it by gzip"),
        "zstd.nii.gz": (b"\x28\xb5\x2f\xfd" + bytes(40), "compressed by zstd; unpack it, or compress it by gzip"),
        "pdf.nii.gz": (b"%PDF-1.4" + bytes(40), "a PDF document; give the CT volume"),
        "prose.nii": (b"no image at all" * 99, "not a NIfTI file; KiTS images are .nii.gz (NIfTI-1): check the file"),
    }.items()
} | {
    "pair.nii": (
        header_of_pair, "the header of a .hdr and .img pair, not a single-file NIfTI; convert the two"),
    "meta.nii.gz": (
        lambda p: p.write_bytes(save_mha(p.with_name("x.mha"), scan()).rename(p).read_bytes()),
        "a MetaImage file by another name; rename it to .mha"),
    "nifti.mha": (
        lambda p: save(p.with_name("x.nii"), scan()).rename(p), "a NIfTI file by another name; rename it to .nii.gz"),
    "metres.nii.gz": (
        lambda p: save(p, scan((60, 100, 80)), kits_affine((0.003, 0.0008, 0.0008))),
        "it spans 0.18 x 0.08 x 0.064 mm ((60, 100, 80) voxels of 0.003 x 0.0008 x 0.0008 mm), and no body does"),
    "centimetres.nii.gz": (
        lambda p: save(p, scan((100, 200, 200)), kits_affine((0.3, 0.08, 0.08))), "it spans 30 x 16 x 16 mm"),
    "wide.nii.gz": (lambda p: save(p, scan((6, 100, 80)), kits_affine((3.0, 25.0, 25.0))), "it spans 18 x 2500 x 2000"),
    "long.nii.gz": (lambda p: save(p, scan((100, 10, 8)), kits_affine((30.0, 0.8, 0.8))), "it spans 3000 x 8 x 6.4"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("warnings") / "in"
    source.mkdir()
    for name, (write, _) in {**NOTED, **REFUSED}.items():
        write(source / name)
    with_mha_lines(source / "sequence.mha")
    return source


@pytest.fixture(scope="module")
def ended(folder: Path, model: Path) -> Ended:
    return drive(folder, folder.parent / "out", "--model", model, "--device", "cpu")


@pytest.mark.parametrize("name", NOTED)
def test_what_is_odd_is_said_and_recorded(folder, ended, name):
    told = NOTED[name][1]
    case = case_of(name)
    assert [line for line in ended.lines if line.startswith(f"note: {case}: ") and told in line], ended.lines
    row = rows(folder.parent / "out")[case]
    assert row["status"] == "done"
    assert any(told in note for note in row["notes"])
    assert f" {case} !" in ended.out


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_volume_is_told_what_it_is(ended, name):
    (line,) = [line for line in ended.lines if line.startswith(f"failed: {case_of(name)}: ")]
    assert f"{name}: {REFUSED[name][1]}" in line


def test_a_long_header_is_read(folder, ended):
    out = folder.parent / "out"
    assert rows(out)["sequence"]["notes"] == []
    assert read_labels(out / "prediction_sequence.mha").voxels.any()


@pytest.mark.parametrize("name", ["plain as gz.nii.gz", "gz as plain.nii", "gz twice.nii.gz", "sheared.nii.gz"])
def test_the_mask_is_that_of_the_good_file(folder, ended, name):
    out = folder.parent / "out"
    assert np.array_equal(mask(out, f"prediction_{case_of(name)}.nii.gz"), labels_of(scan()))


def test_a_voxels_volume_is_the_determinant(folder, ended, model, tmp_path):
    """Columns (0, 0.75, -3), (0, -0.8, 0), (-0.8, 0, 0): 3 x 0.8 x 0.8 mm^3 though the first is 3.09 mm long."""
    hu = scan()
    expected = {"kidney": (labels_of(hu) == 1).sum() * 1.92e-3, "tumor": (labels_of(hu) == 2).sum() * 1.92e-3}
    assert rows(folder.parent / "out")["sheared"]["volume_ml"] == pytest.approx(expected)
    grid = read_grid(folder / "sheared.nii.gz")
    assert grid.box_mm == pytest.approx((3.0, 0.8, 0.8))
    assert grid.spacing_mm == pytest.approx((3.0923, 0.8, 0.8), abs=1e-4)


def test_an_upright_grid_has_its_spacing_as_its_box(folder):
    grid = read_grid(folder / "slab.nii.gz")
    assert grid.box_mm is grid.spacing_mm


def test_cases_without_a_kidney_are_named_last(folder, ended):
    without = [case for case, row in rows(folder.parent / "out").items() if "no kidney was found" in row["notes"]]
    assert {"air", "constant", "minus 1024", "0 to 1"} <= set(without)
    assert ended.lines[-2].startswith(f"note: no kidney was found in {len(without)} of ")


def test_an_offset_makes_hu_of_stored_values(tmp_path, model):
    save(tmp_path / "in" / "case_00001.nii.gz", (scan() + 1024).clip(0).astype(np.uint16))
    out = tmp_path / "out"
    ended = drive(tmp_path / "in", out, "--model", model, "--device", "cpu", "--hu-offset", "-1024", "--pictures")
    assert (ended.code, ended.lines) == (0, [])
    assert np.array_equal(mask(out, "prediction_00001.nii.gz"), labels_of(scan()))
    assert "kept" not in "".join(drive(tmp_path / "in", out, "--model", model, "--device", "cpu").lines)
    assert files(out) == ["prediction_00001.nii.gz", "run.json"]


def volumes() -> list[Path]:
    """The real scans at hand."""
    shared = [path for name in ("realct", "realct_btcv") for path in sorted(present("data", name).glob("case_*"))]
    return [next(iter(folder.glob("imaging*"))) for folder in (*shared, ROOT / "examples" / "case_90005")]


def noted(hu: np.ndarray) -> str:
    seen = Seen()
    list(seen.watch(iter(enumerate(hu)), len(hu)))
    return seen.note()


def test_no_real_scan_trips_however_it_is_cut_and_each_of_them_does_out_of_hu():
    for path in volumes():
        seen = Seen()
        with open_planes(path) as source:
            planes = dict(seen.watch(source.stream, source.grid.shape[source.axis]))
            notes = source.grid.notes
        hu = np.stack([planes[i] for i in sorted(planes)])
        z, y, x = hu.shape
        body = hu[:, y // 4 : -y // 4, x // 4 : -x // 4]
        kidney_sized = hu[z // 3 : z // 3 + 20, y // 2 : y // 2 + y // 8, x // 3 : x // 3 + x // 8]
        assert (seen.note(), notes) == ("", ()), path
        for good in (body, kidney_sized, hu.clip(-79, 304), hu.clip(-1024, 1300)):
            assert noted(good) == "", path
        window = ((hu + 160) / 400).clip(0, 1)
        for bad in (hu + 1024, hu - 1024, window, window * 255, (hu - hu.mean()) / hu.std()):
            assert noted(bad), path


def test_no_phantom_trips(tmp_path):
    from kits_submit.phantom.write import write_phantoms

    write_phantoms(tmp_path, 2, seed=5, max_slices=40)
    for path in sorted(tmp_path.glob("case_*/imaging.nii.gz")):
        with open_planes(path) as source:
            assert noted(np.stack([plane for _, plane in source.stream])) == ""
            assert source.grid.notes == ()
