"""Small trainings: cases, configs, a loop over one batch, and a whole run, that several test modules share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kits_submit.recipe import Recipe
from tests.train.data.test_data import phantom, write_case
from train.compute.distributed import Workers
from train.config import TrainConfig
from train.data.sampler import PatchBatch, Sampler
from train.fit.loop import Trainer
from train.network.deeplab import DeepLab3D
from train.network.variants import architecture_of
from train.place import Place
from train.presets import preset
from train.records.reports import CaseScore, StepReport
from train.run import Request, run_training
from train.stage import StageResult

RECIPE = Recipe((3.0, 1.5, 1.5), (-100.0, 300.0), 100.0, 50.0, patch=(16, 16, 24), margin=(2, 4, 4))
CONFIG = replace(
    preset("demo"),
    spacing_mm=None,
    patch=(8, 12, 16),
    batch=2,
    patients=2,
    learning_rate=1e-3,
    warmup=0.0,
    tumor_shift=0.0,
    max_steps=3,
    loaders=0,
    tensorboard=False,
)
SMALL = replace(CONFIG, holdout=0.25, inference_patch=(16, 16, 24), margin=(2, 2, 2))


class OneBatch(Sampler):
    """Always the same two tiny patches: a bright block with a dark one in it."""

    def __init__(self) -> None:
        pairs = [phantom(seed) for seed in (0, 1)]
        image = np.stack([i[:8, 2:14, 2:18] for i, _ in pairs])[:, None] / np.float32(100)
        self.size = 2
        self.only = PatchBatch(image, np.stack([label[:8, 2:14, 2:18] for _, label in pairs]))

    @property
    def steps_per_epoch(self) -> int:
        return 1

    def batch(self, step: int) -> PatchBatch:
        return self.only


def trainer(config: TrainConfig = CONFIG, seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    return Trainer(DeepLab3D(architecture_of(config.architecture)), OneBatch(), config)


class Heard:
    """`train.records.events.Events` that remembers."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.steps: list[StepReport] = []
        self.scores: list[CaseScore] = []
        self.lines: list[str] = []

    def said(self, text: str) -> None:
        self.lines.append(text)

    def stage(self, name: str, total: int | None) -> None:
        self.stages.append(name)

    def advanced(self, what: str) -> None: ...

    def stepped(self, report: StepReport) -> None:
        self.steps.append(report)

    def scored(self, score: CaseScore) -> None:
        self.scores.append(score)


def write_cases(data: Path, count: int = 4) -> Path:
    for i in range(count):
        write_case(data / f"case_{i:05d}", *phantom(i))
    return data


def train(data: Path, out: Path, config: TrainConfig, heard: Heard | None = None, **options: object) -> StageResult:
    place = Place(Workers(), torch.device("cpu"), heard or Heard())
    return run_training(Request(data, out, config, **options), place)  # type: ignore[arg-type]
