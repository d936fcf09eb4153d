"""One stage of a training in its folder: steps, validations, checkpoints, pictures; goes on where it was stopped.

    config.json  recipe.json  split.json    before the first step
    loss.csv  timing.csv  validation.csv    `train.records.journal`
    checkpoint.pt                           the last state: every few minutes, after each validation, at the end
    best.pt                                 the state with the best held-out Dice so far, or the last validated (`keep`)
    curves.png  montage.png  tensorboard/   drawn anew at each validation
    scores.csv                              the best state on the cases' own grids, without and with postprocessing

A file of one of these names is whole. What a step and a validation do follows from the state before them alone, so a
stage that was killed and goes on from its checkpoint ends as one that was not.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kits_submit.atomic import write_text
from kits_submit.errors import InputError
from kits_submit.files.cases import Case
from kits_submit.inference.intensity import air
from kits_submit.inference.postprocess import refine
from kits_submit.recipe import Recipe
from kits_submit.types import Labels
from train import BEST, CHECKPOINT
from train.config import TrainConfig
from train.data.cache import CachedCase
from train.data.dataset import Dataset, same_data
from train.data.sampler import Sampler
from train.fit.checkpoint import Checkpoint, load_checkpoint, load_state, save_checkpoint
from train.fit.loop import Limits, Trainer
from train.fit.validate import predict_case, validate
from train.network.deeplab import DeepLab3D
from train.network.variants import architecture_of
from train.place import Place
from train.records.journal import TIMING, Journal, read_rows, write_scores
from train.records.pictures import CURVES, MONTAGE, Panel, draw_curves, draw_montage, panel_of
from train.records.reports import Scored, StepReport, mean_score, measures_of
from train.synthesis.augment import Augmenter

SCORES = "scores.csv"
NETWORK, REFINED = "network", "refined"
_PANELS = 8


@dataclass(frozen=True)
class StageResult:
    """What a stage left; `scores`: the best state's on the cases' own grids, as `(masks, case)`."""

    best: Path
    recipe: Recipe
    steps: int
    scores: tuple[tuple[str, Scored], ...]
    waited: float


class Stage:
    """One stage, at its beginning or where its checkpoint stands."""

    def __init__(
        self, folder: Path, dataset: Dataset, config: TrainConfig, place: Place, *, init: Checkpoint | None = None
    ) -> None:
        self.folder = folder
        self.dataset = dataset
        self.config = config
        self.place = place
        self.recipe = dataset.recipe
        self._measures = measures_of(config.label_set)
        self.best: tuple[int, float] | None = None
        self.finished = False
        self._validated_at = -1
        self._saved = time.monotonic()
        self._panels: list[Panel] = []
        stored = self._checkpoint()
        self.trainer = self._trainer(init, stored)
        if stored is not None:
            self._resume(stored)
        if self.place.workers.first:
            for name, text in (("config", config.to_json()), ("recipe", self.recipe.to_json())):
                write_text(folder / f"{name}.json", f"{text}\n")
            write_text(folder / "split.json", f"{json.dumps(asdict(dataset.split))}\n")

    def train(self, limits: Limits) -> Checkpoint:
        """Train to the end, unless that is done; the best state."""
        if not self.finished:
            self._fit(limits)
        self.place.workers.gather(self.trainer.step)  # wait until the first has written
        return load_checkpoint(self.folder / BEST)

    def run(self, limits: Limits) -> StageResult:
        """`train`, and score the best state."""
        best = self.train(limits)
        scores = self._scores(best)
        return StageResult(self.folder / BEST, best.recipe, self.trainer.step, tuple(scores), self._waited())

    def _trainer(self, init: Checkpoint | None, stored: Checkpoint | None) -> Trainer:
        config, workers = self.config, self.place.workers
        sampler = Sampler(
            self.dataset.in_training,
            patch=config.patch,
            batch=config.batch,
            patients=config.patients,
            air=air(self.recipe),
            background_above_air=config.background_above_air,
            centre_jitter=config.centre_jitter,
            flip_axes=config.flip_axes,
            augmenter=Augmenter(self.recipe, config.augmentation, config.contrast, config.fat)
            if config.augmentation
            else None,
            background_beside=config.background_beside,
            spacing_mm=self.recipe.spacing_mm,
            whole=config.whole,
            seed=config.seed,
            rank=workers.rank,
            world=workers.world,
        )
        torch.manual_seed(config.seed)
        network = DeepLab3D(architecture_of(config.architecture, config.outputs).with_dropout(config.dropout))
        weights = (
            stored.model if stored is not None else None if init is None else init.standardised_as(self.recipe).mean
        )
        if weights is not None:
            load_state(network, weights)
        return Trainer(network, sampler, config, workers, self.place.device)

    def _checkpoint(self) -> Checkpoint | None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return None
        return load_checkpoint(path, architecture=architecture_of(self.config.architecture, self.config.outputs))

    def _resume(self, stored: Checkpoint) -> None:
        if stored.config != self.config:
            raise another_config(self.config.differences(stored.config), self.folder / CHECKPOINT)
        if not same_data(stored.recipe, self.recipe):
            raise InputError(
                "the data are not those that the checkpoint was trained on",
                fix="give --data with the same cases, or train anew into another --out",
                path=self.folder / CHECKPOINT,
            )
        self.recipe = stored.recipe
        self.trainer.restore(stored.step, stored.mean, stored.training)
        threads = int(stored.training.get("threads", torch.get_num_threads()))
        if threads != torch.get_num_threads():
            self.place.events.said(f"{threads} threads, as before: another number would round otherwise")
            torch.set_num_threads(threads)
        best = stored.training.get("best")
        self.best = None if best is None else (int(best[0]), float(best[1]))
        self.finished = bool(stored.training.get("finished"))

    def _fit(self, limits: Limits) -> None:
        if self.trainer.step:
            self.place.events.said(f"going on from step {self.trainer.step} ({self.folder / CHECKPOINT})")
        with ExitStack() as stack:
            journal = None
            if self.place.workers.first:
                journal = Journal(
                    self.folder, step=self.trainer.step, tensorboard=self.config.tensorboard, scored=self._measures
                )
                stack.enter_context(journal)
            self.place.events.stage("training", None)
            self.trainer.fit(limits, lambda report: self._stepped(report, journal))
            if self._validated_at != self.trainer.step:
                self._validate(journal)
            self.finished = True
            self._save(CHECKPOINT)

    def _stepped(self, report: StepReport, journal: Journal | None) -> None:
        if journal is not None:
            journal.stepped(report)
        self.place.events.stepped(report)
        every = self.config.validate_every
        if report.epoch_ended and every and (report.epoch + 1) % every == 0:
            self._validate(journal)
            self._save(CHECKPOINT)
            self.place.events.stage("training", None)
        elif time.monotonic() - self._saved > 60 * self.config.checkpoint_minutes:
            self._save(CHECKPOINT)

    def _validate(self, journal: Journal | None) -> None:
        cases = self.dataset.held_out
        self._panels.clear()
        self._validated_at = self.trainer.step
        score = 0.0
        if cases:
            self.place.events.stage("validation", len(cases))
            network = self.trainer.mean.network
            scores = validate(
                network,
                cases,
                self.recipe,
                on_case=self.place.events.scored,
                on_labels=self._keep_panel,
                workers=self.place.workers,
            )
            score = mean_score(scores).dice
            if journal is not None:
                journal.validated(self.trainer.step, self.trainer.epoch, scores)
        if self.config.keep == "last" or not cases or self.best is None or score > self.best[1]:
            self.best = (self.trainer.step, score)
            self._save(BEST)
        if journal is not None:
            self._draw(journal)

    def _keep_panel(self, case: CachedCase, predicted: Labels) -> None:
        if len(self._panels) < _PANELS:
            image, recipe = np.asarray(case.image, np.float32), self.recipe
            self._panels.append(panel_of(case.case_id, image, case.label, predicted, recipe.spacing_mm, recipe.labels))

    def _draw(self, journal: Journal) -> None:
        draw_curves(self.folder, self.folder / CURVES)
        if self._panels:
            draw_montage(self._panels, self.folder / MONTAGE, self.recipe.labels)
            journal.picture("validation/montage", self.folder / MONTAGE, self.trainer.step)

    def _save(self, name: str) -> None:
        self._saved = time.monotonic()
        if self.place.workers.first:
            save_checkpoint(self.folder / name, make_checkpoint(self.trainer, self.recipe, self._progress()))

    def _progress(self) -> dict[str, Any]:
        return {"best": self.best, "finished": self.finished}

    def _scores(self, best: Checkpoint) -> list[tuple[str, Scored]]:
        """Of the best state on each held-out case's own grid, without and with the Recipe's refinement."""
        cases = [self.dataset.cases[case_id] for case_id in self.dataset.split.validation]
        self.place.events.stage("scores", len(cases))
        network = best.network().to(self.place.device)

        def both(case: Case) -> tuple[Scored, Scored]:
            predicted, truth, spacing_mm = predict_case(
                network, case, best.recipe, cysts_as_kidney=self.config.cysts_as_kidney
            )
            refined = refine(predicted, spacing_mm, best.recipe.refinement, best.recipe.labels)
            self.place.events.advanced(case.case_id)
            return (
                self._measures.of(case.case_id, predicted, truth, spacing_mm),
                self._measures.of(case.case_id, refined, truth, spacing_mm),
            )

        pairs = self.place.workers.map(both, cases)
        rows = [(what, pair[i]) for i, what in enumerate((NETWORK, REFINED)) for pair in pairs]
        if self.place.workers.first:
            write_scores(self.folder / SCORES, rows, self._measures)
        return rows

    def _waited(self) -> float:
        """The share of all steps' time that was spent waiting for patches."""
        rows = read_rows(self.folder / TIMING)
        total = sum(float(row["seconds"]) for row in rows)
        return sum(float(row["data_s"]) for row in rows) / total if total else 0.0


def make_checkpoint(trainer: Trainer, recipe: Recipe, progress: dict[str, Any]) -> Checkpoint:
    """The trainer's state now; `progress`: what the stage adds to it."""
    return Checkpoint(
        architecture=trainer.network.architecture,
        config=trainer.config,
        recipe=recipe,
        step=trainer.step,
        model=trainer.network.state_dict(),
        mean=trainer.mean.network.state_dict(),
        training={**trainer.state(), **progress},
    )


def another_config(differences: list[str], path: Path) -> InputError:
    """The config asked for is not the run's."""
    what = f"the run has another config: {', '.join(differences)}"
    return InputError(what, fix="resume without these options, or train anew into another --out", path=path)
