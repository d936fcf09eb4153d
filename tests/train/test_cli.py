"""`kits-submit train`: what it does with its options, and what it says where no terminal listens."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from kits_submit.errors import InputError
from tests.train.data.test_data import phantom, write_case
from train.commands.train import train_command
from train.compute.distributed import Workers
from train.config import TrainConfig
from train.data.cohort import draw_phantoms
from train.presets import preset
from train.records.display import RunDisplay
from train.records.reports import CaseScore, StepReport

TINY = replace(
    preset("demo"),
    spacing_mm=None,
    patch=(8, 8, 8),
    batch=2,
    holdout=0.25,
    inference_patch=(16, 16, 24),
    margin=(2, 2, 2),
    max_steps=2,
    phantoms=4,
    tensorboard=False,
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every preset is `TINY`."""
    monkeypatch.setattr("train.commands.train.named_preset", lambda name: TINY)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(cases, seed) of each call of `write_phantoms`, which writes arrays of a few voxels instead."""
    calls: list[tuple[int, int]] = []

    def write(out: Path, cases: int, seed: int, *, on_case: object, **_: object) -> None:
        calls.append((cases, seed))
        for i in range(cases):
            write_case(out / f"case_{i:05d}", *phantom(seed + i))

    monkeypatch.setattr("train.data.cohort.write_phantoms", write)
    return calls


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(train_command)
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


@pytest.mark.usefixtures("tiny")
def test_without_data_it_trains_on_phantoms_and_says_so(tmp_path: Path, drawn: list[tuple[int, int]]) -> None:
    out = tmp_path / "run"
    done = run("--out", str(out), "--seed", "3", "--max-steps", "2", "--threads", "1")
    assert done.exit_code == 0, done.output
    assert "no --data: training on 4 phantoms, synthetic cases" in done.output
    assert "2 steps, " in done.output
    assert f"best: {out / 'best.pt'}" in done.output
    assert "(unrefined)" in done.output
    assert len((out / "scores.csv").read_text().splitlines()) == 3  # a heading, one case unrefined and refined
    config = TrainConfig.from_json((out / "config.json").read_text())
    assert (config.seed, config.max_steps) == (3, 2)
    ((cases, seed),) = drawn
    assert cases == 4
    assert seed != 2019  # the demo's


@pytest.mark.usefixtures("tiny")
def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    done = run("--out", str(tmp_path))
    assert isinstance(done.exception, InputError)
    assert "a training is there already" in str(done.exception)


def test_an_unknown_preset_is_told(tmp_path: Path) -> None:
    done = run("--preset", "best", "--out", str(tmp_path / "run"))
    assert isinstance(done.exception, InputError)
    assert (
        "preset is 'best', allowed: paper, demo, pretraining, shipped, any-hospital, kits23, kits23-regions, bigger-"
        in str(done.exception)
    )
    assert not (tmp_path / "run").exists()


def test_phantoms_are_drawn_once(tmp_path: Path, drawn: list[tuple[int, int]]) -> None:
    display = RunDisplay(Console(file=io.StringIO()))
    for _ in range(2):
        assert draw_phantoms(tmp_path, TINY.phantoms, TINY.seed, display, Workers()) == tmp_path / "phantoms"
    assert len(drawn) == 1
    draw_phantoms(tmp_path, TINY.phantoms, 1, display, Workers())
    assert [seed - drawn[0][1] for _, seed in drawn] == [0, 1]
    assert json.loads((tmp_path / "phantoms.json").read_text())["seed"] == drawn[1][1]


def test_a_log_gets_a_line_a_stage_and_a_line_a_minute() -> None:
    now = [0.0]
    text = io.StringIO()
    report = StepReport(
        step=1,
        epoch=0,
        progress=0.5,
        loss=0.75,
        tversky=0.5,
        focal=0.5,
        learning_rate=1e-3,
        seconds=2.0,
        data_s=0.1,
        patches=8,
    )
    with RunDisplay(Console(file=text, width=40), clock=lambda: now[0]) as display:
        display.stage("training", None)
        for now[0] in (10, 59, 61, 70, 120, 122):
            display.stepped(report)
        display.stage("validation", 1)
        display.scored(CaseScore("case_00001", 0.9, 0.5, 1, 1, 1, 1))
    assert text.getvalue().splitlines() == [
        "  0.0 min training",
        "  1.0 min 50% step 1 loss 0.750 (tversky 0.500, focal 0.5000) rate 1.0e-03 4.0 patches/s",
        "  2.0 min 50% step 1 loss 0.750 (tversky 0.500, focal 0.5000) rate 1.0e-03 4.0 patches/s",
        "  2.0 min validation (1 cases)",
        "case_00001: Dice kidney 0.900, tumor 0.500 (unrefined)",
    ]


def test_a_log_knows_the_time_left() -> None:
    now = [0.0]
    text = io.StringIO()
    with RunDisplay(Console(file=text), clock=lambda: now[0]) as display:
        display.stage("cache", 10)
        for now[0] in (50, 100, 150):
            display.advanced("case")
    assert text.getvalue().splitlines() == [
        "  0.0 min cache (10 cases)",
        "  1.7 min cache 2 of 10, about 7 min left",
    ]


def test_a_terminal_gets_bars() -> None:
    text = io.StringIO()
    with RunDisplay(Console(file=text, force_terminal=True, width=100)) as display:
        display.stage("cache", 2)
        display.advanced("case_00000")
        display.stage("training", None)
    assert "cache" in text.getvalue()
    assert "training" in text.getvalue()
