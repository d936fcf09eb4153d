"""`kits-submit tune` on a run folder: predict its held-out cases, search, write the thresholds into its Recipes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from kits_submit.atomic import replacing, write_text
from kits_submit.errors import InputError
from kits_submit.files.cases import Case, find_cases
from kits_submit.recipe import Refinement
from train import BEST, CHECKPOINT, best_of
from train.fit.checkpoint import load_checkpoint, save_checkpoint
from train.fit.validate import predict_case
from train.records.events import Events
from train.studies.tune import Predicted, Trial, Tuned, tune

TRIALS = "tune.csv"


def tune_run(
    run: Path,
    data: Path,
    events: Events,
    *,
    jobs: int,
    device: torch.device,
    on_trial: Callable[[Trial], None] | None = None,
) -> tuple[Tuned, Path]:
    """Search on the run's held-out cases; its checkpoints, `recipe.json` and `tune.csv` take the result.

    It begins from the usual thresholds, whatever an earlier search has written: one that is repeated, as after a kill,
    writes the same.

    Raises:
        InputError: no checkpoint, no held-out case, or `data` lacks one.
        KitsError: a case or a checkpoint that cannot be read, a folder that cannot be written.
    """
    path = best_of(run)
    if path is None:
        raise InputError("no checkpoint in it", fix="name a run folder of `kits-submit train`", path=run)
    trained = load_checkpoint(path)
    cases = held_out(path.parent, data)
    network = trained.network().to(device)
    events.stage("prediction", len(cases))
    predicted = []
    for case in cases:
        predicted.append(
            Predicted.of(
                case.case_id,
                *predict_case(network, case, trained.recipe, cysts_as_kidney=trained.config.cysts_as_kidney),
                trained.recipe.labels,
            )
        )
        events.advanced(case.case_id)
    tuned = tune(predicted, Refinement(), jobs=min(jobs, len(cases)), on_trial=on_trial)
    _write(path.parent, tuned)
    return tuned, path.parent


def held_out(stage: Path, data: Path) -> list[Case]:
    """The cases of a stage's folder that validated it.

    Raises:
        InputError: it held none out, or `data` lacks one.
    """
    try:
        wanted = json.loads((stage / "split.json").read_text())["validation"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("no readable split.json", fix="name a run folder of `kits-submit train`", path=stage) from None
    if not wanted:
        raise InputError("the run held no case out", fix="train with --holdout above 0", path=stage)
    present = {case.case_id: case for case in find_cases(data)}
    lacking = sorted(set(wanted) - present.keys())
    if lacking:
        what = f"{len(lacking)} of the run's held-out cases are not in it (first: {lacking[0]})"
        raise InputError(what, fix="give the data that the run was trained on", path=data)
    return [present[case_id] for case_id in wanted]


def _write(stage: Path, tuned: Tuned) -> None:
    for name in (BEST, CHECKPOINT):
        if (stage / name).is_file():
            trained = load_checkpoint(stage / name)
            save_checkpoint(stage / name, replace(trained, recipe=replace(trained.recipe, refinement=tuned.refinement)))
            write_text(stage / "recipe.json", replace(trained.recipe, refinement=tuned.refinement).to_json() + "\n")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("threshold", "value", "mean_dice"))
    writer.writerows((trial.threshold, trial.value, f"{trial.dice:.6f}") for trial in tuned.trials)
    with replacing(stage / TRIALS) as stream:
        stream.write(table.getvalue().encode())


def told(refinement: Refinement, before: Refinement) -> str:
    """`tumor_min_ml 2.0 (was 0.5), ...`: what changed."""
    changes = [
        f"{name} {getattr(refinement, name)} (was {getattr(before, name)})"
        for name in refinement.__dataclass_fields__
        if getattr(refinement, name) != getattr(before, name)
    ]
    return ", ".join(changes) or "no threshold changed"
