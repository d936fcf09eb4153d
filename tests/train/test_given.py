"""A run knows its own data: `--resume` alone goes on with it, and the line of a stopped training is a command."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kits_submit.errors import InputError
from tests.conftest import ROOT
from tests.train.test_cli import TINY, run
from tests.train.training import write_cases
from train.given import GIVEN, Given, given_before
from train.run import stored_config


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.commands.train.named_preset", lambda name: TINY)
    monkeypatch.setattr("train.data.cohort.write_phantoms", lambda *_, **__: pytest.fail("draws phantoms"))


def unfinished(tmp_path: Path) -> tuple[Path, Path]:
    """(data, run) of a training that has begun and taken no step."""
    data, out = write_cases(tmp_path / "data"), tmp_path / "run"
    assert run("--data", str(data), "--out", str(out), "--minutes", "0.02", "--threads", "1").exit_code == 0
    return data, out


def test_resume_alone_goes_on_with_the_data_of_the_run(tmp_path: Path) -> None:
    data, out = unfinished(tmp_path)
    assert given_before(out) == Given(data=data, minutes=0.02, threads=1)
    assert run("--out", str(out), "--resume").exit_code == 0
    assert not (out / "phantoms").exists()


def test_data_that_moved_are_asked_for_and_known_by_their_content(tmp_path: Path) -> None:
    data, out = unfinished(tmp_path)
    moved = data.rename(tmp_path / "moved")
    done = run("--out", str(out), "--resume")
    assert isinstance(done.exception, InputError)
    assert "are not there any more; give --data, where they lie now" in str(done.exception)
    assert run("--out", str(out), "--resume", "--data", str(moved)).exit_code == 0
    assert given_before(out).data == moved
    assert run("--out", str(out), "--resume").exit_code == 0


def test_other_data_are_refused_and_not_remembered(tmp_path: Path) -> None:
    data, out = unfinished(tmp_path)
    other = write_cases(tmp_path / "other", 5)
    done = run("--out", str(out), "--resume", "--data", str(other))
    assert "are not those that the checkpoint was trained on; give --data" in str(done.exception)
    assert given_before(out).data == data


def test_a_run_of_an_older_version_asks_for_its_data(tmp_path: Path) -> None:
    _, out = unfinished(tmp_path)
    (out / GIVEN).unlink()
    assert "no phantoms of its own; give --data" in str(run("--out", str(out), "--resume").exception)
    (out / GIVEN).write_text("[")
    assert "delete it, and give --data" in str(run("--out", str(out), "--resume").exception)


def test_the_line_of_a_stopped_training_is_the_command_that_goes_on(tmp_path: Path) -> None:
    """SIGTERM in the middle; then the very words that were printed."""
    data, out = write_cases(tmp_path / "data"), tmp_path / "a run"
    config = tmp_path / "tiny.json"
    config.write_text(TINY.changed({"max_steps": 400, "checkpoint_minutes": 0.0}, source="test").to_json())
    given = ("--data", data, "--out", out, "--config", config, "--threads", 1, "--device", "cpu")
    command = [sys.executable, "-m", "kits_submit", "train", *map(str, given)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 120
        while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        last = process.stderr.read().splitlines()[-1]
    assert process.returncode == 143
    words = shlex.split(last.partition("go on with: ")[2])
    assert words[-6:] == ["train", "--resume", "--out", str(out), "--device", "cpu"]
    assert stored_config(out) is not None
    shutil.copytree(out, tmp_path / "copy")
    done = subprocess.run([*words, "--minutes", "0.01"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr


def test_a_plan_says_what_it_takes_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_cases(tmp_path / "data"), tmp_path / "run"
    done = run("--data", str(data), "--out", str(out), "--plan", "--device", "cpu")
    assert done.exit_code == 0, done.output
    told = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in done.output.splitlines() if "│" in line}
    assert told["cases"] == "3 train, 1 validate"
    assert told["grid"] == "3 x 1.5 x 1.5 mm (Z, Y, X)"
    assert told["all of it"].startswith("at most 2 steps")
    assert not out.exists()
