"""A training that is killed at any moment goes on as if never stopped; one that cannot go on says why."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kits_submit.errors import InputError, KitsError, ModelError, OutputError
from tests.conftest import ROOT
from tests.train.data.test_data import phantom, write_case
from tests.train.training import SMALL, Heard, train, write_cases
from train.data.cache import _HOST, clear_unfinished
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.network.deeplab import Architecture
from train.run import begin, stored_config


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


CONFIG = replace(
    SMALL, max_steps=6, validate_every=2, second_patch=(12, 12, 12), checkpoint_minutes=0.0, loaders=1, dropout=1.0
)
# A training that says a line when it begins, and one at each step and each case.
CHILD = """
import sys
from pathlib import Path
import torch
from tests.train.training import Heard, train
from train.config import TrainConfig

class Loud(Heard):
    def advanced(self, what): print("case", flush=True)
    def stepped(self, report): print("step", flush=True)
    def scored(self, score): print("score", flush=True)

torch.set_num_threads(1)
print("begun", flush=True)
train(Path(sys.argv[1]), Path(sys.argv[2]), TrainConfig.from_json(sys.argv[3]), Loud())
print("done", flush=True)
"""


def child(data: Path, out: Path, lines: int | None) -> bool:
    """Whether it ended by itself; with `lines` it is killed as soon as it has said as many."""
    command = [sys.executable, "-W", "error", "-c", CHILD, str(data), str(out), CONFIG.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ) as process:
        assert process.stdout is not None
        for count, line in enumerate(process.stdout, start=1):
            if line == "done\n":
                break
            if count == lines:
                process.send_signal(signal.SIGKILL)
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode == 0


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Two stages of 6 steps; a step takes one line, so that kills fall while it measures, caches, steps and validates.

    A kill lands between two lines, while the next piece of work is under way.
    """
    data = write_cases(tmp_path / "data")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert child(data, whole, None)
    moments = random.Random(0)
    kills = 0
    for lines in (3, 7, 11, 13, 16):
        kills += not child(data, killed, lines + moments.randrange(3))
    assert kills >= 4
    assert child(data, killed, None)
    for stage in (".", "second"):
        for name in ("loss.csv", "validation.csv", "scores.csv", "split.json", "recipe.json"):
            assert (killed / stage / name).read_bytes() == (whole / stage / name).read_bytes(), name
        for name in ("checkpoint.pt", "best.pt"):
            ours, theirs = (load_checkpoint(run / stage / name) for run in (killed, whole))
            assert ours.step == theirs.step
            for weights in ("model", "mean"):
                a, b = getattr(ours, weights), getattr(theirs, weights)
                assert all(torch.equal(a[key], b[key]) for key in b)
    assert len((whole / "loss.csv").read_text().splitlines()) == 7
    assert list(killed.rglob("*.part")) == []
    assert [p.name for p in (killed / "cache").iterdir() if p.name.startswith(".")] == []


def test_going_on_in_this_process_takes_the_same_steps(tmp_path: Path) -> None:
    data, config = write_cases(tmp_path / "data"), replace(SMALL, max_steps=4, checkpoint_minutes=0.0)

    class Stopped(Heard):
        def stepped(self, report: object) -> None:
            super().stepped(report)  # type: ignore[arg-type]
            if len(self.steps) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "stopped", config, Stopped())
    heard = Heard()
    train(data, tmp_path / "stopped", config, heard)
    assert [report.step for report in heard.steps] == [2, 3, 4]  # step 2 was told before it was saved
    assert any("going on from step 1" in line for line in heard.lines)
    train(data, tmp_path / "whole", config)
    assert (tmp_path / "stopped" / "loss.csv").read_bytes() == (tmp_path / "whole" / "loss.csv").read_bytes()


def test_a_finished_training_is_only_scored_again(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data")
    first = train(data, tmp_path / "run", SMALL)
    heard = Heard()
    assert train(data, tmp_path / "run", SMALL, heard).scores == first.scores
    assert heard.steps == []


def test_another_config_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    train(data, run, SMALL)
    (run / "config.json").write_text(SMALL.to_json())
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"the run has another config: batch \(4, there 2\); resume without"):
        begin(run, replace(SMALL, batch=4), resume=True)
    with pytest.raises(InputError, match=r"another config: batch \(4, there 2\)"):
        train(data, run, replace(SMALL, batch=4))
    with pytest.raises(InputError, match=r"a training is there already; .*--resume"):
        begin(run, SMALL, resume=False)
    begin(run, SMALL, resume=True)
    assert stored_config(run) == SMALL
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path in before}
    assert after == before


def test_going_on_takes_as_many_threads_as_before(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    train(data, run, SMALL)
    stored = load_checkpoint(run / "checkpoint.pt")
    more = {**stored.training, "threads": 2, "finished": False}
    save_checkpoint(run / "checkpoint.pt", replace(stored, training=more))
    heard = Heard()
    try:
        train(data, run, SMALL, heard)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert any("2 threads, as before" in line for line in heard.lines)


def test_other_data_are_told(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    train(data, run, SMALL)
    write_case(data / "case_00001", *phantom(7))
    with pytest.raises(InputError, match="the data are not those that the checkpoint was trained on"):
        train(data, run, SMALL)


def test_a_checkpoint_of_another_architecture_is_told(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    train(data, run, SMALL)
    stored = load_checkpoint(run / "checkpoint.pt")
    save_checkpoint(run / "checkpoint.pt", replace(stored, architecture=Architecture(stem=16)))
    with pytest.raises(ModelError, match=r"architecture differs in stem \(16, wanted 8\)|weights do not fit"):
        train(data, run, SMALL)


def test_another_number_of_workers_is_told(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    train(data, run, SMALL)
    stored = load_checkpoint(run / "checkpoint.pt")
    save_checkpoint(run / "checkpoint.pt", replace(stored, training={**stored.training, "world": 2}))
    with pytest.raises(ModelError, match="the checkpoint is of 2 workers, this is a run of 1"):
        train(data, run, SMALL)


@pytest.mark.parametrize("name", ["checkpoint.pt", "loss.csv"])
def test_a_full_disk_is_told_in_one_line_and_nothing_is_lost(tmp_path: Path, name: str) -> None:
    """The kernel refuses what would make a file longer than a limit, as it does on a full disk (EFBIG for ENOSPC)."""
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    config = replace(SMALL, max_steps=4, checkpoint_minutes=0.0)
    train(data, tmp_path / "whole", config)
    limit = {"checkpoint.pt": 6_000_000, "loss.csv": 120}[name]
    told = _child_with_limit(data, run, config, limit, slow=name == "loss.csv")
    assert told.startswith(f"OutputError: {run}"), told
    assert "cannot be written (File too large)" in told
    assert told.count("\n") == 1
    assert [path.name for path in run.rglob("*.part")] == []
    train(data, run, config)
    assert (run / "loss.csv").read_bytes() == (tmp_path / "whole" / "loss.csv").read_bytes()


def _child_with_limit(data: Path, run: Path, config: object, limit: int, *, slow: bool) -> str:
    """The error that a training ends by, in whose course no file may grow beyond `limit` bytes."""
    code = """
import resource, sys
from pathlib import Path
import torch
from kits_submit.errors import KitsError
from tests.train.training import Heard, train
from train.config import TrainConfig

class Limited(Heard):
    def stepped(self, report):
        if report.step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))

torch.set_num_threads(1)
try:
    train(Path(sys.argv[1]), Path(sys.argv[2]), TrainConfig.from_json(sys.argv[3]), Limited())
except KitsError as error:
    print(f"{type(error).__name__}: {error}")
"""
    if slow:  # no checkpoint in between, which would meet the limit first
        config = replace(config, checkpoint_minutes=10.0)  # type: ignore[type-var]
    command = [sys.executable, "-c", code, str(data), str(run), config.to_json(), str(limit)]  # type: ignore[attr-defined]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_is_trained_in_by_one_process_at_a_time(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"

    class Inside(Heard):
        told: str = ""

        def stepped(self, report: object) -> None:
            try:
                train(data, run, SMALL)
            except KitsError as error:
                self.told = str(error)

    heard = Inside()
    train(data, run, SMALL, heard)
    assert heard.told == f"{run}: another process trains in it; wait for it, or give another --out"


def test_what_a_killed_process_left_in_the_cache_goes(tmp_path: Path) -> None:
    gone, alive = tmp_path / f".case_0.1-ab.{_HOST}.999999999.xy", tmp_path / f".case_00000-ab.{_HOST}.{os.getpid()}.xy"
    elsewhere, forgotten = (tmp_path / f".case_00000-ab.another.{pid}.xy" for pid in (1, 2))
    whole = tmp_path / "case_00000-ab"
    for folder in (gone, alive, elsewhere, forgotten, whole):
        folder.mkdir()
    os.utime(forgotten, (0, 0))
    clear_unfinished(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere, whole])


def test_a_disk_that_refuses_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        begin(tmp_path / "file" / "run", SMALL, resume=False)
