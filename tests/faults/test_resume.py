"""A batch stopped in the middle, by SIGTERM (docker stop) and by SIGKILL, and run again."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kits_submit.batch.journal import entries
from tests.conftest import save, write_threshold_model
from tests.faults.conftest import clean, command, drive, files, labels_of, manifest, mask, rows, scan

CASES = 6
LATE_SHAPE = (100, 120, 120)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Two small cases, then some that take long enough to be stopped in."""
    for number in range(CASES):
        hu = scan() if number < 2 else scan(LATE_SHAPE)
        save(tmp_path / "in" / f"case_0000{number}.nii.gz", hu)
    return tmp_path / "in"


def names(count: int = CASES) -> list[str]:
    return [f"prediction_0000{number}.nii.gz" for number in range(count)]


def stop(sent: signal.Signals, *arguments: object, after: Path) -> tuple[int, list[str]]:
    """Send a signal as soon as a file is there and the next case runs; exit code and lines of stderr."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean()
    ) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 60
        while not after.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(sent)
        lines = process.stderr.read().splitlines()
    return process.returncode, lines


def whole(output: Path, name: str) -> bool:
    number = int(name.removeprefix("prediction_").removesuffix(".nii.gz"))
    return np.array_equal(mask(output, name), labels_of(scan() if number < 2 else scan(LATE_SHAPE)))


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_batch_is_resumed_where_it_stopped(cases, tmp_path, model, sent):
    out = tmp_path / "out"
    arguments = (cases, out, "--model", model, "--device", "cpu")
    code, lines = stop(sent, *arguments, after=out / names()[1])
    if sent == signal.SIGTERM:
        assert code == 143
        assert lines[-1] == "error: stopped by SIGTERM; what is written is whole, run again"
        assert not list(out.glob(".*"))
    else:
        assert code == -signal.SIGKILL
        assert lines == []
    done = [name for name in names() if (out / name).exists()]
    assert 2 <= len(done) < CASES
    assert all(whole(out, name) for name in done)
    assert manifest(out)["exit_code"] is None
    assert (out / "run.jsonl").exists() == (sent == signal.SIGKILL)
    proven = [entry["prediction"] for entry in entries(out).values() if entry["status"] == "done"]
    assert set(done[:1]) <= set(proven) <= set(done)
    (out / ".prediction_00005.nii.gz.abcdefgh.part").write_bytes(b"half")  # as a kill in the middle of a write leaves
    before = {name: (out / name).stat().st_mtime_ns for name in proven}

    ended = drive(*arguments)

    assert ended.code == 0
    (kept,) = ended.lines
    assert kept.startswith(f"kept: {len(proven)} of {CASES} cases, done before from the same input by the same model")
    assert {name: (out / name).stat().st_mtime_ns for name in proven} == before
    assert files(out) == [*names(), "run.json"]
    assert all(whole(out, name) for name in names())
    ended_with = manifest(out)["cases"]
    assert [entry["case"] for entry in ended_with] == [f"case_0000{number}" for number in range(CASES)]
    assert [entry.get("kept", False) for entry in ended_with] == [name in proven for name in names()]
    assert manifest(out)["exit_code"] == 0


def test_a_case_is_done_again_where_its_input_its_mask_or_the_model_changed(tmp_path, model):
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(4):
        save(source / f"case_0000{number}.nii.gz", scan())

    def redone(*arguments: object) -> list[str]:
        ended = drive(source, out, "--device", "cpu", *arguments)
        assert ended.code == 0
        return [case for case, entry in rows(out).items() if not entry.get("kept")]

    every = [f"case_0000{number}" for number in range(4)]
    assert redone("--model", model) == every
    assert redone("--model", model) == []
    save(source / "case_00000.nii.gz", scan(tumor=False))
    (out / "prediction_00001.nii.gz").unlink()
    (out / "prediction_00002.nii.gz").write_bytes((out / "prediction_00003.nii.gz").read_bytes() + b"x")
    assert redone("--model", model) == every[:3]
    assert not (mask(out, "prediction_00000.nii.gz") == 2).any()
    assert nib.load(out / "prediction_00002.nii.gz").get_fdata().max() == 2
    assert redone("--model", model, "--fresh") == every
    (source / "case_00003.nii.gz").touch()  # another time of change, the same content
    assert redone("--model", model) == []
    other = write_threshold_model(tmp_path / "other.onnx", weights=[0, 1, 0])
    assert redone("--model", other) == every
    assert not (mask(out, "prediction_00003.nii.gz") == 2).any()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"cases": [{"case": 1}]}',
        '{"cases": [{"case": "case_00000", "status": "done", "key": 1}]}',
        '{"cases": 3}',
    ],
)
def test_a_manifest_that_is_not_ours_is_no_ledger(tmp_path, model, content):
    from kits_submit.batch.ledger import Ledger
    from kits_submit.batch.manifest import Provenance
    from kits_submit.engine.model import load_model
    from kits_submit.engine.select import select_engine
    from kits_submit.files.cases import find_cases
    from kits_submit.inference.patches import PatchPlan

    save(tmp_path / "in" / "case_00000.nii.gz", scan())
    (tmp_path / "run.json").write_text(content)
    loaded = load_model(model)
    made_by = Provenance(loaded, select_engine("cpu", loaded), PatchPlan.of(loaded.recipe))
    ledger = Ledger(find_cases(tmp_path / "in"), tmp_path, made_by)
    assert ledger.results == []
    assert json.loads((tmp_path / "run.json").read_text())["cases"] == []


def test_another_patch_plan_does_the_cases_again(tmp_path, model):
    save(tmp_path / "in" / "case_00000.nii.gz", scan())
    arguments = (tmp_path / "in", tmp_path / "out", "--model", model)
    assert drive(*arguments).code == 0
    assert "kept: 1 of 1" in "\n".join(drive(*arguments).lines)
    assert "kept" not in "\n".join(drive(*arguments, "--overlap", "0.5").lines)
