"""Faults of single cases: all in one folder and one process, each told by its own line and code, the others done."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kits_submit.files.volume import read_labels
from tests.conftest import kits_affine, save
from tests.faults.conftest import Ended, drive, files, labels_of, mask, rows, scan
from tests.files.test_metaimage import save_mha

DAMAGED = "it is damaged or was not downloaded whole: get it again"
OBLIQUE = np.array([[0, 0.166, -0.782, 0], [0, -0.782, -0.166, 5], [-3.0, 0, 0, 9], [0, 0, 0, 1.0]])  # by 12 degrees


def header(path: Path, voxels: np.ndarray | None = None, **fields: object) -> None:
    """A good file but for some fields of its header."""
    raw = bytearray(gzip.decompress(save(path, scan() if voxels is None else voxels).read_bytes()))
    head = nib.Nifti1Header(bytes(raw[:348]), check=False)
    for name, value in fields.items():
        head[name] = value
    path.write_bytes(gzip.compress(head.binaryblock + bytes(raw[348:]), 1))


def cut(path: Path) -> None:
    content = save(path, np.random.default_rng(0).integers(-100, 100, (40, 70, 70)).astype(np.int16)).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def with_voxel(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        hu = scan().astype(np.float64)
        hu[0, 0, 0] = value
        save(path, hu)

    return write


def unreadable(path: Path) -> None:
    """Of no permission; root may read such a file, and gets one that no read succeeds on."""
    if os.getuid() == 0:
        path.symlink_to("/proc/self/mem")
    else:
        save(path, scan()).chmod(0)


def label(values: np.ndarray) -> Callable[[Path], None]:
    """A good image in a case folder beside a wrong label map."""

    def write(path: Path) -> None:
        save(path / "imaging.nii.gz", scan())
        save(path / "segmentation.nii.gz", values)

    return write


def empty_folder(path: Path) -> None:
    path.mkdir()


# name below the input folder: (writer, exit code of the case, what is told after the file's name)
FAULTY: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "truncated.nii.gz": (cut, 4, f"the gzip stream ends early; {DAMAGED}"),
    "empty.nii.gz": (lambda p: p.write_bytes(b""), 4, "the file is empty; get it again"),
    "zeros.nii": (lambda p: p.write_bytes(bytes(4000)), 4, "not a NIfTI file; KiTS images are .nii.gz"),
    "text.nii.gz": (lambda p: p.write_bytes(b"no image at all\n" * 99), 4, "not a NIfTI file; KiTS images are"),
    "nan.nii.gz": (with_voxel(np.nan), 4, "1 or more voxels are NaN or infinite; replace them"),
    "inf.nii.gz": (with_voxel(np.inf), 4, "1 or more voxels are NaN or infinite; replace them"),
    "beyond float32.nii.gz": (with_voxel(1e300), 4, "1 or more voxels are NaN or infinite; replace them"),
    "2-D.nii.gz": (lambda p: save(p, scan()[0]), 4, "the volume has shape (10, 8); give one 3-D volume a file"),
    "4-D several.nii.gz": (
        lambda p: save(p, np.stack([scan()] * 2, axis=-1)), 4, "the volume has shape (6, 10, 8, 2); give one"),
    "zero spacing.nii.gz": (
        lambda p: header(p, pixdim=[1, 0, 0.8, 0.8, 0, 0, 0, 0], srow_x=0, srow_y=0, srow_z=0), 4,
        "the header's orientation is not finite or has no volume; set the sform or the qform"),
    "negative spacing.nii.gz": (
        lambda p: header(p, pixdim=[1, -3, 0.8, 0.8, 0, 0, 0, 0], sform_code=0, qform_code=1), 4,
        "the header's orientation is invalid (pixdims[1,2,3] should be positive); set the sform or the qform"),
    "no affine.nii.gz": (
        lambda p: header(p, sform_code=0, qform_code=0), 4,
        "the header has no orientation (sform = qform = 0); set the sform or the qform"),
    "nan slope.nii.gz": (lambda p: header(p, scl_slope=1, scl_inter=np.nan), 4, "scl_slope or scl_inter is invalid"),
    "complex.nii.gz": (
        lambda p: save(p, scan().astype(np.complex64)), 4, "voxels of type complex64, not numbers; convert it"),
    "too many.nii.gz": (
        lambda p: header(p, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), 4,
        f"the header says (30000, 30000, 30000), more than the file can hold; {DAMAGED}"),
    "micrometres.nii.gz": (
        lambda p: save(p, scan(), kits_affine((3000.0, 800.0, 800.0))), 4, "it spans 18000 x 8000 x 6400 mm ("),
    "loop.nii.gz": (lambda p: p.symlink_to(p.name), 4, "cannot be read (Too many levels of symbolic links)"),
    "nowhere.nii.gz": (lambda p: p.symlink_to("missing"), 4, "cannot be read (No such file or directory)"),
    "unreadable.nii": (unreadable, 4, "cannot be read ("),
    "pipe.nii.gz": (os.mkfifo, 4, "not a regular file; give the image itself"),
    "short.mha": (
        lambda p: p.write_bytes(save_mha(p, scan()).read_bytes()[:-20]), 4, f"the voxels end early; {DAMAGED}"),
    "prose.mha": (lambda p: p.write_bytes(b"no image at all\n" * 99), 4, "not a MetaImage file; check the file"),
    "case_00070": (empty_folder, 3, "no imaging.nii.gz in it; add the image, or remove the folder"),
    "case_00071": (label(np.zeros((6, 10, 9), np.uint8)), 5, "(6, 10, 9)"),
    "case_00072": (label(labels_of(scan()) * 100), 6, "the truth holds label 100 (88 voxels), 200 (8 voxels)"),
    "case_00073": (label(labels_of(scan()) / 4), 6, "voxels are no label (first: 0.25); label maps hold whole numbers"),
}  # fmt: skip


def scaled(path: Path) -> None:
    """Stored as (HU + 1024) / 2."""
    header(path, (scan() + 1024) // 2, scl_slope=2, scl_inter=-1024)


def converted(dtype: str, values: np.ndarray | None = None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        voxels = (scan() if values is None else values).astype(dtype)
        image = nib.Nifti1Image(voxels, kits_affine(), dtype=voxels.dtype)
        if dtype.startswith(">"):
            image = nib.Nifti1Image(voxels, kits_affine(), image.header.as_byteswapped(">"))
        nib.save(image, path)

    return write


def padded() -> np.ndarray:
    """What scanners write outside their round field of view."""
    hu = scan()
    hu[:, 0], hu[:, -1] = -3024, -3024
    return hu


# name below the input folder: (writer, the mask's file, its voxels)
UNUSUAL: dict[str, tuple[Callable[[Path], object], np.ndarray]] = {
    "case_00000.nii.gz": (lambda p: save(p, scan()), scan()),
    "4-D one.nii.gz": (lambda p: save(p, scan()[..., None]), scan()[..., None]),
    "oblique.nii.gz": (lambda p: save(p, scan(), OBLIQUE), scan()),
    "scaled.nii.gz": (scaled, scan()),
    "uint16.nii.gz": (converted("u2", scan().clip(0)), scan()),
    "big-endian.nii.gz": (converted(">i2"), scan()),
    "one slice.nii.gz": (lambda p: save(p, scan()[2:3]), scan()[2:3]),
    "one voxel.nii.gz": (lambda p: save(p, np.full((1, 1, 1), 150, np.int16)), np.full((1, 1, 1), 150)),
    "larger than a patch.nii.gz": (lambda p: save(p, scan((20, 40, 24))), scan((20, 40, 24))),
    "air.nii.gz": (lambda p: save(p, np.full((6, 10, 8), -1000, np.int16)), np.full((6, 10, 8), -1000)),
    "padded.nii.gz": (lambda p: save(p, padded()), padded()),
    "Ürsula Ä. – scan №1.nii.gz": (lambda p: save(p, scan()), scan()),
    "zz last.nii": (lambda p: save(p, scan()), scan()),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("faults") / "in"
    source.mkdir()
    for name, (write, *_) in {**FAULTY, **UNUSUAL}.items():
        write(source / name)
    return source


@pytest.fixture(scope="module")
def ended(folder: Path, model: Path) -> Ended:
    return drive(folder, folder.parent / "out", "--model", model, "--device", "cpu")


@pytest.fixture(scope="module")
def out(folder: Path, ended: Ended) -> Path:
    return folder.parent / "out"


def case_of(name: str) -> str:
    for suffix in (".nii.gz", ".nii", ".mha"):
        name = name.removesuffix(suffix)
    return name


def expected_masks() -> dict[str, np.ndarray]:
    named = {f"prediction_{case_of(name).removeprefix('case_')}.nii.gz": hu for name, (_, hu) in UNUSUAL.items()}
    with_labels = [name for name, (_, code, _) in FAULTY.items() if code in (5, 6)]
    return named | {f"prediction_{name.removeprefix('case_')}.nii.gz": scan() for name in with_labels}


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_told_by_one_line_and_its_code(folder, ended, out, name):
    _, code, told = FAULTY[name]
    (line,) = [line for line in ended.lines if line.startswith(f"failed: {case_of(name)}: ")]
    assert str(folder / name) in line
    assert told in line
    row = rows(out)[case_of(name)]
    if code in (3, 4):
        assert (row["status"], row["exit_code"]) == ("failed", code)
        assert line == f"failed: {case_of(name)}: {row['error']}"
        assert row["prediction"] is None
    else:
        assert row["status"] == "done"


def test_the_run_ends_with_the_code_of_several_kinds_and_one_last_line(folder, ended):
    assert ended.code == 10
    first = next(line for line in ended.lines if line.startswith("failed: ")).removeprefix("failed: ")
    more, cases = len(FAULTY) - 1, len(FAULTY) + len(UNUSUAL)
    assert ended.last == f"error: {first} (and {more} more of {cases} cases: see run.json)"


@pytest.mark.parametrize("name", UNUSUAL)
def test_each_unusual_case_is_segmented_on_its_own_grid(folder, out, name):
    file = f"prediction_{case_of(name).removeprefix('case_')}.nii.gz"
    source = nib.load(folder / name)
    written = nib.load(out / file)
    assert written.shape == source.shape
    assert np.array_equal(written.affine, source.affine)
    assert np.array_equal(mask(out, file), labels_of(UNUSUAL[name][1]))


def test_nothing_else_stands_in_the_output(out, ended):
    assert files(out) == sorted([*expected_masks(), "run.json", "scores.csv", "scores.json"])


WITH_GRID = (
    "truncated.nii.gz", "nan.nii.gz", "inf.nii.gz", "beyond float32.nii.gz", "micrometres.nii.gz", "short.mha",
)  # fmt: skip


@pytest.fixture(scope="module")
def again(folder: Path, model: Path) -> tuple[Ended, Path]:
    """The same folder with `--on-failure background`."""
    out = folder.parent / "background"
    return drive(folder, out, "--model", model, "--device", "cpu", "--on-failure", "background"), out


def test_each_case_whose_header_can_be_read_gets_an_empty_mask_on_its_grid(again):
    ended, out = again
    entries = rows(out)
    for name in FAULTY:
        entry = entries[case_of(name)]
        assert (entry["status"] == "background") == (name in WITH_GRID), name
    for name in WITH_GRID:
        assert not read_labels(out / entries[case_of(name)]["prediction"]).voxels.any()
        (line,) = [line for line in ended.lines if line.startswith(f"failed: {case_of(name)}: ")]
        assert line.endswith("; an all-background mask stands in its place")
    truncated = nib.load(out / "prediction_truncated.nii.gz")
    assert truncated.shape == (40, 70, 70)
    assert np.allclose(truncated.affine, kits_affine())


def test_on_failure_background_leaves_the_others_as_they_are(again):
    ended, out = again
    for name, hu in expected_masks().items():
        assert np.array_equal(mask(out, name), labels_of(hu))
    assert ended.code == 10  # for those that got no mask


def test_a_background_mask_is_no_failure_of_the_run(tmp_path, model):
    cut(tmp_path / "case_00001.nii.gz")
    ended = drive(tmp_path, tmp_path / "out", "--model", model, "--device", "cpu", "--on-failure", "background")
    assert ended.code == 0
    assert len(ended.lines) == 1
    assert not mask(tmp_path / "out", "prediction_00001.nii.gz").any()
