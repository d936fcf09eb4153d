"""One training from a folder of labelled cases to a run folder. Prints nothing: `events` hears what happens.

    RUN/config.json  recipe.json  split.json     before the first step
    RUN/cache/                                   `train.cache`
    RUN/loss.csv                                 one line a step
    RUN/checkpoint.pt                            every few minutes and at the end
    RUN/validation.csv                           Dice of each held-out case, at the end

A file of one of these names is whole, but for `loss.csv`, which grows.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import IO, Protocol

import torch

from kits_submit.cases import Case, find_cases
from kits_submit.errors import OutputError
from kits_submit.intensity import air
from kits_submit.nifti import replacing
from kits_submit.recipe import Recipe
from train import CHECKPOINT
from train.cache import CachedCase, cache_case
from train.checkpoint import Checkpoint, load_state, save_checkpoint
from train.config import TrainConfig
from train.fingerprint import CaseFacts, files_of, make_recipe, measure
from train.loop import Limits, StepReport, Trainer
from train.network.deeplab import Architecture, DeepLab3D
from train.sampler import Sampler
from train.splits import split_cases
from train.validate import CaseScore, validate

CHECKPOINT_EVERY_S = 120.0


class Events(Protocol):
    """What a training tells while it runs."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins; `total`: how many calls of `advanced` it will make, None where progress is a fraction."""

    def advanced(self, what: str) -> None:
        """One case of the stage is done."""

    def stepped(self, report: StepReport) -> None:
        """One training step is done."""

    def scored(self, score: CaseScore) -> None:
        """One held-out case is scored."""


@dataclass(frozen=True)
class RunResult:
    """What a training left."""

    checkpoint: Path
    recipe: Recipe
    steps: int
    scores: tuple[CaseScore, ...]


def run_training(
    data: Path, out: Path, config: TrainConfig, limits: Limits, events: Events, *, init: Checkpoint | None = None
) -> RunResult:
    """Fingerprint, cache, train, checkpoint, validate.

    Args:
        init: start from its mean weights (the second stage of section 2.4); the Recipe is the data's own all the same.

    Raises:
        KitsError: data that cannot be used, or a folder that cannot be written.
    """
    cases = find_cases(data)
    for case in cases:
        files_of(case)
    facts = _measure(cases, events)
    recipe = make_recipe(facts, config)
    split = split_cases([case.case_id for case in cases], holdout=config.holdout, seed=config.seed)
    _write_text(out / "config.json", config.to_json())
    _write_text(out / "recipe.json", recipe.to_json())
    _write_text(out / "split.json", json.dumps(asdict(split)))
    cached = _cache(cases, facts, recipe, out / "cache", max_slices=config.max_slices, events=events)
    in_training = [case for case in cached if case.case_id in split.train]
    network = _network(config, init)
    trainer = _train(out, in_training, recipe, config, network, limits=limits, events=events)
    held_out = [case for case in cached if case.case_id in split.validation]
    events.stage("validation", len(held_out))
    scores = validate(trainer.mean.network, held_out, recipe, on_case=events.scored)
    _write_scores(out / "validation.csv", scores)
    return RunResult(out / CHECKPOINT, recipe, trainer.step, tuple(scores))


def _measure(cases: Sequence[Case], events: Events) -> list[CaseFacts]:
    events.stage("fingerprint", len(cases))
    facts = []
    for case in cases:
        facts.append(measure(case))
        events.advanced(case.case_id)
    return facts


def _cache(
    cases: Sequence[Case],
    facts: Sequence[CaseFacts],
    recipe: Recipe,
    root: Path,
    *,
    max_slices: int,
    events: Events,
) -> list[CachedCase]:
    events.stage("cache", len(cases))
    cached = []
    for case, fact in zip(cases, facts, strict=True):
        cached.append(cache_case(case, recipe, root, max_slices=max_slices, sha256=fact.sha256))
        events.advanced(case.case_id)
    return cached


def _train(
    out: Path,
    cases: Sequence[CachedCase],
    recipe: Recipe,
    config: TrainConfig,
    network: DeepLab3D,
    *,
    limits: Limits,
    events: Events,
) -> Trainer:
    sampler = Sampler(
        cases,
        patch=config.patch,
        batch=config.batch,
        patients=config.patients,
        air=air(recipe),
        background_above_air=config.background_above_air,
        flip_axes=config.flip_axes,
        seed=config.seed,
    )
    trainer = Trainer(network, sampler, config)
    events.stage("training", None)
    with _open_csv(out / "loss.csv") as stream:
        writer = csv.writer(stream)
        writer.writerow(field.name for field in fields(StepReport))
        saved = time.monotonic()

        def on_step(report: StepReport) -> None:
            nonlocal saved
            writer.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in astuple(report))
            stream.flush()
            events.stepped(report)
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                save_checkpoint(out / CHECKPOINT, make_checkpoint(trainer, recipe))
                saved = time.monotonic()

        trainer.fit(limits, on_step)
    save_checkpoint(out / CHECKPOINT, make_checkpoint(trainer, recipe))
    return trainer


def _network(config: TrainConfig, init: Checkpoint | None) -> DeepLab3D:
    torch.manual_seed(config.seed)
    network = DeepLab3D(Architecture().with_dropout(config.dropout))
    return network if init is None else load_state(network, init.mean)


def make_checkpoint(trainer: Trainer, recipe: Recipe) -> Checkpoint:
    """The trainer's state now."""
    return Checkpoint(
        architecture=trainer.network.architecture,
        config=trainer.config,
        recipe=recipe,
        step=trainer.step,
        model=trainer.network.state_dict(),
        mean=trainer.mean.network.state_dict(),
        training=trainer.state(),
    )


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as stream:
        stream.write(text.encode() + b"\n")


def _write_scores(path: Path, scores: Sequence[CaseScore]) -> None:
    rows = [field.name for field in fields(CaseScore)], *(astuple(score) for score in scores)
    _write_text(path, "\n".join(",".join(str(value) for value in row) for row in rows))


def _open_csv(path: Path) -> IO[str]:
    try:
        return path.open("w", newline="")
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot be written ({reason})", fix="check space and permissions", path=path) from None
