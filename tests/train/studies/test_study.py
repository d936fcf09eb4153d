"""Tuning and ablations: the search against an exhaustive one, the tables against the paper's text, both end to end."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from kits_submit.errors import InputError
from kits_submit.inference.postprocess import refine
from kits_submit.labels import KITS19
from kits_submit.recipe import Refinement
from kits_submit.types import Labels
from tests.conftest import present
from tests.train.training import SMALL, Heard, train, trainer, write_cases
from train.commands.study import ablate_command, tune_command
from train.fit.checkpoint import load_checkpoint
from train.fit.loop import Limits
from train.presets import TABLE_2, TABLE_3, preset
from train.records.reports import CaseScore, StepReport, mean_score
from train.studies.ablation import ORDER, ROWS, TITLES, configs, markdown, means, unlike_paper
from train.studies.tune import CHOICES, Predicted, tune

OFF = Refinement(0, 0, 0, 0, 0, tumor_needs_kidney=False)
SPACING = (10.0, 10.0, 10.0)  # a voxel is 1 mL


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def invoke(command: object, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command)  # type: ignore[type-var]
    return CliRunner(env={"COLUMNS": "140"}).invoke(app, arguments)


def case_with_specks(specks: int, name: str = "case_00000") -> Predicted:
    """A kidney of 64 mL with a tumor of 8 mL, both found, and false tumor in single voxels of 1 mL beside."""
    truth = np.zeros((12, 12, 12), np.uint8)
    truth[2:6, 2:6, 2:6] = 1
    truth[2:4, 2:4, 6:8] = 2
    labels = truth.copy()
    for i in range(specks):
        labels[9, 1 + 2 * i, 9] = 2
    return Predicted.of(name, labels, truth, SPACING, KITS19)


def test_the_search_drops_false_specks_and_keeps_the_rest() -> None:
    cases = [case_with_specks(2), case_with_specks(5, "case_00001")]
    tuned = tune(cases, OFF)
    assert mean_score(tuned.before).tumor_dice == pytest.approx((16 / 18 + 16 / 21) / 2)
    assert mean_score(tuned.after).dice == 1
    assert tuned.refinement != OFF
    assert tuned.trials[0].threshold == "opening_mm"


def test_a_threshold_that_helps_nobody_stays() -> None:
    assert tune([case_with_specks(0)], Refinement()).refinement == Refinement()


def test_the_search_is_as_good_as_an_exhaustive_one_where_thresholds_are_apart() -> None:
    cases = [case_with_specks(3)]
    names = ("tumor_min_ml", "kidney_min_ml", "tumor_needs_kidney")
    best = 0.0
    for values in itertools.product(*(CHOICES[name] for name in names)):
        tried = replace(OFF, **dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
        best = max(best, mean_score([case.score(tried) for case in cases]).dice)
    assert mean_score(tune(cases, OFF).after).dice >= best


def test_cutting_a_case_to_its_foreground_changes_no_score() -> None:
    rng = np.random.default_rng(0)
    truth, labels = np.zeros((9, 10, 11), np.uint8), np.zeros((9, 10, 11), np.uint8)
    truth[3:7, 2:6, 4:9] = rng.integers(0, 3, (4, 4, 5))
    labels[2:6, 3:8, 0:8] = rng.integers(0, 3, (4, 5, 8))
    for refinement in (OFF, replace(OFF, tumor_min_ml=3.0, hole_max_ml=2.0), Refinement(foreground_min_ml=5.0)):
        whole = CaseScore.of("case", refine(labels, SPACING, refinement, KITS19), truth, SPACING)
        assert Predicted.of("case", labels, truth, SPACING, KITS19).score(refinement) == whole


def test_an_empty_case_is_cut_too() -> None:
    nothing: Labels = np.zeros((4, 4, 4), np.uint8)
    assert Predicted.of("case", nothing, nothing, SPACING, KITS19).score(Refinement()).dice == 1


def test_side_by_side_finds_the_same() -> None:
    cases = [case_with_specks(2), case_with_specks(5, "case_00001")]
    assert tune(cases, OFF, jobs=2) == tune(cases, OFF)


def test_tune_writes_the_recipe_of_a_run(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    train(data, run, replace(SMALL, max_steps=8))
    done = invoke(tune_command, str(run), "--data", str(data), "--jobs", "1")
    assert done.exit_code == 0, (done.output, done.exception)
    found = load_checkpoint(run / "best.pt").recipe
    assert load_checkpoint(run / "checkpoint.pt").recipe == found
    assert (
        json.loads((run / "recipe.json").read_text())["refinement"]["foreground_min_ml"]
        == found.refinement.foreground_min_ml
    )
    assert found.refinement.foreground_min_ml < 20  # the default drops these phantoms of a few mL
    trials = (run / "tune.csv").read_text().splitlines()
    assert trials[0] == "threshold,value,mean_dice"
    assert len(trials) > sum(len(values) for values in CHOICES.values()) - len(CHOICES)
    invoke(tune_command, str(run), "--data", str(data), "--jobs", "1")
    assert (run / "tune.csv").read_text().splitlines() == trials  # as one that was killed after it had written
    assert load_checkpoint(run / "best.pt").recipe == found
    heard = Heard()
    assert train(data, run, replace(SMALL, max_steps=8), heard).recipe == found  # a tuned run can still be resumed
    assert heard.steps == []


def test_tune_without_held_out_cases_or_their_data_is_told(tmp_path: Path) -> None:
    data, run = write_cases(tmp_path / "data"), tmp_path / "run"
    train(data, run, replace(SMALL, max_steps=1))
    assert "no checkpoint in it" in str(invoke(tune_command, str(tmp_path), "--data", str(data)).exception)
    assert "the run has no phantoms of its own" in str(invoke(tune_command, str(run)).exception)
    (run / "split.json").write_text('{"train": [], "validation": ["case_00099"]}')
    assert "1 of the run's held-out cases are not in it" in str(
        invoke(tune_command, str(run), "--data", str(data)).exception
    )
    (run / "split.json").write_text('{"train": [], "validation": []}')
    assert "the run held no case out" in str(invoke(tune_command, str(run), "--data", str(data)).exception)


def test_the_papers_numbers_are_the_papers() -> None:
    """Each row of Tables 2 to 4, read from the paper's own text."""
    text = present("paper.md").read_text()
    for rows in ROWS.values():
        for row in rows:
            if row.paper is not None:
                (line,) = re.findall(rf"^\s*{re.escape(row.words)}\t(.+)$", text, re.MULTILINE)
                assert tuple(float(cell) for cell in line.split("\t")) == row.paper


def test_the_grids_are_the_presets() -> None:
    assert set(configs(2, preset("paper"))) == {*TABLE_2, "proposed"}
    assert configs(3, preset("paper")).keys() == TABLE_3.keys()
    assert configs(4, preset("paper")) == {"proposed": preset("paper")}
    with pytest.raises(InputError, match="table 5, allowed: 2, 3, 4"):
        configs(5, preset("paper"))


def test_means_by_hand() -> None:
    one, two = CaseScore("a", 0.5, 0.2, 0.6, 0.3, 0.7, 0.4), CaseScore("b", 1.0, 0.4, 0.8, 0.5, 0.9, 0.6)
    scores = {"proposed": [("network", one), ("network", two), ("refined", two), ("refined", two)]}
    got = means(4, scores)
    assert got["Without postprocessing"] == pytest.approx((75, 30, 70, 40, 80, 50))
    assert got["Final score"] == pytest.approx((100, 40, 80, 50, 90, 60))
    assert ORDER[:2] == ("kidney_dice", "tumor_dice")
    assert unlike_paper(preset("paper")) == ""
    shorter = unlike_paper(replace(preset("paper"), max_steps=300, patch=(32, 32, 32)), 5.0)
    assert shorter == (
        "Not the paper's numbers (the paper's in brackets): patch 32,32,32 (48,48,48), max_steps 300 (None), "
        "at most 5 minutes a stage."
    )
    assert markdown(4, got, 2, shorter).splitlines()[0].endswith(f"Ours: 2 held-out cases. {shorter}")
    text = markdown(4, got, 2).splitlines()
    assert text[0] == f"{TITLES[4]} Ours: 2 held-out cases."
    assert text[-2] == "| Final score | paper | 87.23 | 38.41 | 84.26 | 41.06 | 78.99 | 29.21 |"
    assert text[-1] == "|  | ours | 100.00 | 40.00 | 80.00 | 50.00 | 90.00 | 60.00 |"


@pytest.mark.parametrize("table", [2, 3, 4])
def test_a_table_is_trained_printed_and_gone_on_with(table: int, tmp_path: Path) -> None:
    data, out = write_cases(tmp_path / "data"), tmp_path / "out"
    (tmp_path / "config.json").write_text(replace(SMALL, max_steps=2, preset="paper").to_json())
    arguments = [
        "--table",
        str(table),
        "--data",
        str(data),
        "--out",
        str(out),
        "--config",
        str(tmp_path / "config.json"),
    ]
    done = invoke(ablate_command, *arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    for row in ROWS[table]:
        assert row.words.split()[0] in done.stdout
        if row.paper is not None:
            assert f"{row.paper[0]:.2f}" in done.stdout
        trained = load_checkpoint(out / row.name / "best.pt")
        assert trained.config == configs(table, replace(SMALL, max_steps=2, preset="paper"))[row.name]
    text = (out / f"table{table}.md").read_text()
    assert len(list((out / "cache").glob("case_*"))) == 4  # shared by all rows
    again = invoke(ablate_command, *arguments)
    assert again.exit_code == 0, again.output
    assert (out / f"table{table}.md").read_text() == text
    other = invoke(ablate_command, *arguments, "--batch", "3")
    assert "another config: batch (3, there 2)" in str(other.exception)


@pytest.mark.parametrize("name", [*TABLE_2, *TABLE_3])
def test_the_loss_of_every_ablation_preset_falls(name: str) -> None:
    changed = preset(name)
    config = replace(SMALL, architecture=changed.architecture, focal_weight=changed.focal_weight, max_steps=30)
    reports: list[StepReport] = []
    trainer(config).fit(Limits(), reports.append)
    losses = [report.loss for report in reports]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
