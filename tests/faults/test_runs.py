"""Faults of a whole run: folders, models, devices, other runs. One clear last line, its code, no stray file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kits_submit.recipe import METADATA_KEY
from tests.conftest import recipe, save, write_threshold_model
from tests.faults.conftest import ENTRYPOINT, drive, files, labels_of, mask, rows, scan

TMPFS = ("unshare", "--mount", "sh", "-c")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / "in" / f"case_0000{number}.nii.gz", scan(tumor=number > 0))
    return tmp_path / "in"


def wrapper(script: str, *arguments: object) -> tuple[str, ...]:
    """Run what follows in a mount namespace of its own, prepared by a shell script."""
    if os.getuid() != 0 or shutil.which("unshare") is None or os.system("unshare --mount true 2>/dev/null"):
        pytest.skip("needs root with the right to mount, to make a file system full or read-only")
    skip = " ".join(["shift;"] * len(arguments))
    return (*TMPFS, f'{script} && {skip} exec "$@"', "sh", *(str(argument) for argument in arguments))


def test_no_case(tmp_path, model):
    (tmp_path / "in").mkdir()
    ended = drive(tmp_path / "in", tmp_path / "out", "--model", model)
    assert (ended.code, len(ended.lines)) == (3, 1)
    assert ended.last.startswith(f"error: {tmp_path / 'in'}: no case found; expected case_00000/imaging.nii.gz")
    assert not (tmp_path / "out").exists()


def test_a_number_twice(cases, tmp_path, model):
    save(cases / "imaging_00001.nii.gz", scan())
    ended = drive(cases, tmp_path / "out", "--model", model)
    assert (ended.code, len(ended.lines)) == (3, 1)
    assert "case_00001 is there twice: case_00001.nii.gz and imaging_00001.nii.gz; keep one" in ended.last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("metadata", "damage", "told"),
    [
        (None, True, "not a usable ONNX file ("),
        ({}, False, f"the model carries no Recipe (metadata '{METADATA_KEY}'); give an .onnx file"),
        ({METADATA_KEY: recipe().to_json().replace('"schema": 1', '"schema": 9')}, False,
         "the Recipe has schema 9, this program reads 1; update kits-submit"),
    ],
    ids=["corrupt", "without Recipe", "newer Recipe"],
)  # fmt: skip
def test_a_wrong_model(cases, tmp_path, metadata, damage, told):
    path = write_threshold_model(tmp_path / "wrong.onnx", metadata)
    if damage:
        path.write_bytes(path.read_bytes()[:100])
    ended = drive(cases, tmp_path / "out", "--model", path)
    assert (ended.code, len(ended.lines)) == (7, 1)
    assert ended.last.startswith(f"error: {path}: ")
    assert told in ended.last
    assert not (tmp_path / "out").exists()


def test_cuda_without_a_gpu(cases, tmp_path, model):
    if any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has a GPU")
    ended = drive(cases, tmp_path / "out", "--model", model, "--device", "cuda")
    assert (ended.code, ended.lines) == (
        8, ["error: no NVIDIA GPU is visible; run on one (docker run --gpus all), or use --device auto"])  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_read_only_output(cases, tmp_path, model):
    out = tmp_path / "out"
    out.mkdir()
    if os.getuid() == 0:
        before: tuple[str, ...] = wrapper('mount -t tmpfs -o ro tmpfs "$1"', out)
    else:
        before = ()
        out.chmod(0o555)
    ended = drive(cases, out, "--model", model, wrapper=before)
    assert (ended.code, len(ended.lines)) == (9, 1)
    assert ended.last.startswith(f"error: {out}: cannot be written (")
    assert ended.last.endswith(f"give a folder that this user (id {os.getuid()}) may write")
    assert files(out) == []


def test_a_full_disk(cases, tmp_path, model):
    """The first two masks fit, the third does not: it fails alone, and its half leaves no trace."""
    noise = np.where(np.random.default_rng(0).random((60, 60, 40)) < 0.5, 150, 0).astype(np.int16)
    save(cases / "case_00003.nii.gz", noise)
    (out := tmp_path / "out").mkdir()
    kept = tmp_path / "kept"
    full = wrapper('mount -t tmpfs -o size=28k tmpfs "$1"', out)
    script = 'python=$1; shift; "$python" "$@"; code=$?; cp -a "$3" "$KEPT"; exit $code'
    before = (*full, "env", f"KEPT={kept}", "sh", "-c", script, "sh")
    ended = drive(cases, out, "--model", model, "--device", "cpu", wrapper=before)
    assert ended.code == 9
    (failed,) = [line for line in ended.lines if line.startswith("failed: ")]
    assert failed.startswith(f"failed: case_00003: {out / 'prediction_00003.nii.gz'}: cannot be written (No space left")
    assert ended.last == f"error: {failed.removeprefix('failed: ')}"
    assert files(kept) == ["prediction_00000.nii.gz", "prediction_00001.nii.gz", "prediction_00002.nii.gz", "run.json"]
    assert np.array_equal(mask(kept, "prediction_00002.nii.gz"), labels_of(scan()))
    assert rows(kept)["case_00003"]["exit_code"] == 9


def test_a_second_run_into_the_same_folder_is_refused(cases, tmp_path, model):
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    ended = drive(cases, out, "--model", model, "--device", "cpu")
    os.close(handle)
    assert (ended.code, ended.lines) == (
        9, [f"error: {out}: another run is writing into it; wait, or give another folder"])  # fmt: skip
    assert files(out) == []


def test_a_case_that_memory_cannot_hold_is_told_before_anything_is_computed(cases, tmp_path, model):
    """Its voxels would be there (all air, so the file is small), the memory is not: `ulimit -v`."""
    save(cases / "case_00003.nii.gz", np.zeros((830, 512, 1490), np.uint8))
    limit = ("sh", "-c", 'ulimit -v 850000; exec "$@"', "sh")
    ended = drive(cases, tmp_path / "out", "--model", model, "--device", "cpu", wrapper=limit)
    assert ended.code == 11
    (failed,) = [line for line in ended.lines if line.startswith("failed: ")]
    assert failed.startswith(f"failed: case_00003: {cases / 'case_00003.nii.gz'}: needs at least ")
    assert "GB are free of 0.9 GB address space limit of this process (ulimit -v); give it more memory" in ended.last
    assert sorted(rows(tmp_path / "out")) == ["case_00000", "case_00001", "case_00002", "case_00003"]
    assert rows(tmp_path / "out")["case_00003"]["seconds"] == {}
    assert files(tmp_path / "out") == [f"prediction_0000{n}.nii.gz" for n in range(3)] + ["run.json"]


def test_the_upload_holds_the_90_names_or_says_which_are_missing(tmp_path, model):
    import zipfile

    first = save(tmp_path / "in" / "case_00210.nii.gz", scan())
    for number in range(211, 300):
        shutil.copy(first, tmp_path / "in" / f"case_{number:05d}.nii.gz")
    (tmp_path / "in" / "case_00255.nii.gz").rename(tmp_path / "later.nii.gz")
    save(tmp_path / "in" / "case_00007.nii.gz", scan())
    out = tmp_path / "out"
    arguments = (tmp_path / "in", out, "--model", model, "--device", "cpu", "--zip")
    ended = drive(*arguments)
    assert ended.code == 3
    assert ended.last == (
        f"error: {out / 'predictions.zip'}: 1 of KiTS19's 90 masks are missing: prediction_00255.nii.gz; "
        "give all of case_00210 to case_00299"
    )
    assert not (out / "predictions.zip").exists()
    (tmp_path / "later.nii.gz").rename(tmp_path / "in" / "case_00255.nii.gz")
    again = drive(*arguments)
    assert again.code == 0
    assert [line.split(",")[0] for line in again.lines] == ["kept: 90 of 91 cases"]
    with zipfile.ZipFile(out / "predictions.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"prediction_{number:05d}.nii.gz" for number in range(210, 300)]
        assert archive.read("prediction_00255.nii.gz") == (out / "prediction_00255.nii.gz").read_bytes()


def test_the_documented_exit_codes_are_the_programs():
    """The README's table has a row for each kind of `kits_submit.errors` with its code, and no other."""
    import re

    from kits_submit.errors import KitsError

    table = re.findall(r"^\| ([\d, ]+) \| .+ \|$", (ENTRYPOINT.parent / "README.md").read_text(), re.MULTILINE)
    codes = {int(code) for cell in table for code in cell.split(",")}
    assert codes == {0, 1, 2, 130, 137, 143} | {kind.exit_code for kind in KitsError.__subclasses__()}
