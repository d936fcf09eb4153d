"""What a training would take here: of the data by headers and one case read, of the steps by one step taken."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kits_submit.errors import KitsError
from kits_submit.files.cases import Case, find_cases
from kits_submit.files.volume import Grid, read_grid
from kits_submit.types import Spacing
from train.compute.device import Precision
from train.config import TrainConfig
from train.data.cache import prepare
from train.data.fingerprint import CaseFacts, make_recipe, measure
from train.data.needs import cache_bytes, jobs_for, memory_bytes
from train.data.sampler import PatchBatch
from train.data.splits import split_cases
from train.data.wanted import wanted_cases
from train.fit.loop import to_tensors, train_step
from train.network.deeplab import DeepLab3D
from train.network.variants import architecture_of
from train.pairs import open_pair

Rows = list[tuple[str, str]]

_FOREGROUND = 0.02  # of a KiTS19 case's voxels, at most cases
_MEASURED_PATCHES = 6  # a step of more is taken for a multiple


@dataclass(frozen=True)
class CasesPlan:
    """Of labelled cases: how many `training` and `validation`, on which grid, and what preparing them takes."""

    training: int
    validation: int
    drawn_training: int
    spacing_mm: Spacing
    disk_bytes: int
    memory_bytes: int
    jobs: int
    seconds: float

    @property
    def in_training(self) -> int:
        """Given and drawn."""
        return self.training + self.drawn_training

    def rows(self) -> Rows:
        """In words."""
        beside = f", {self.drawn_training} more drawn to train on" if self.drawn_training else ""
        return [
            ("cases", f"{self.training} train, {self.validation} validate{beside}"),
            ("grid", " x ".join(f"{mm:.3g}" for mm in self.spacing_mm) + " mm (Z, Y, X)"),
            ("cache", f"{self.disk_bytes / 1e9:.1f} GB of disk, of the {self.training + self.validation} cases given"),
            ("reading them", f"{duration(self.seconds)}, {self.jobs} at once, unless the cache has them"),
            ("memory for it", f"up to {self.memory_bytes / 1e9:.1f} GB"),
        ]


@dataclass(frozen=True)
class StepsPlan:
    """Of one stage."""

    name: str
    step_seconds: float
    steps_per_epoch: int
    steps: int
    scaled: bool

    def rows(self) -> Rows:
        """In words."""
        how = "measured in part" if self.scaled else "measured"
        most = self.steps * self.step_seconds
        return [
            (f"{self.name}: a step", f"{self.step_seconds:.2f} s ({how})"),
            ("an epoch", f"{self.steps_per_epoch} steps, {duration(self.steps_per_epoch * self.step_seconds)}"),
            ("all of it", f"at most {self.steps} steps, {duration(most)}, and validation"),
        ]


def plan_cases(data: Path, config: TrainConfig, most_jobs: int, say: Callable[[str], None]) -> CasesPlan:
    """Look at the headers of all cases, and read one of middle size.

    Raises:
        KitsError: no labelled case, or that one cannot be read.
    """
    cases = wanted_cases(find_cases(data), config, say)
    grids = {case.case_id: grid for case in cases if (grid := _grid(case, say)) is not None}
    split = split_cases(list(grids), holdout=config.holdout, seed=config.seed)
    median = np.median([grid.spacing_mm for grid in grids.values()], axis=0)
    spacing_mm = config.spacing_mm or (float(median[0]), float(median[1]), float(median[2]))
    facts = [_supposed(name, grid) for name, grid in grids.items()]
    jobs = jobs_for([fact.shape for fact in facts], most_jobs)
    by_size = sorted(grids, key=lambda name: math.prod(grids[name].shape))
    middle = next(case for case in cases if case.case_id == by_size[len(by_size) // 2])
    a_voxel = _seconds_to_prepare(middle, config) / math.prod(grids[middle.case_id].shape)
    largest = sorted((memory_bytes(fact.shape) for fact in facts), reverse=True)[:jobs]
    return CasesPlan(
        len(split.train),
        len(split.validation),
        len(split.train) * (config.implants + config.healthy) + config.beside_phantoms,
        spacing_mm,
        sum(cache_bytes(fact, spacing_mm, config.max_slices) for fact in facts),
        sum(largest),
        jobs,
        a_voxel * sum(math.prod(fact.shape) for fact in facts) / jobs,
    )


def plan_steps(name: str, config: TrainConfig, training: int, device: torch.device) -> StepsPlan:
    """Take a step of `config`, whose patches hold noise; `training`: cases that train."""
    measured = min(config.batch, _MEASURED_PATCHES)
    per_epoch = -(-training // min(config.patients, config.batch, training))
    steps = config.max_epochs * per_epoch
    return StepsPlan(
        name,
        _seconds_a_step(config, measured, device) * config.batch / measured,
        per_epoch,
        steps if config.max_steps is None else min(steps, config.max_steps),
        scaled=measured < config.batch,
    )


def duration(seconds: float) -> str:
    """In the largest unit that fits: 45 s, 12 min, 3.5 h, 2.1 days."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _grid(case: Case, say: Callable[[str], None]) -> Grid | None:
    assert case.image is not None, "wanted_cases gives none without"
    try:
        return read_grid(case.image)
    except KitsError as error:
        say(f"bad case: {error}")
        return None


def _supposed(name: str, grid: Grid) -> CaseFacts:
    """A case's facts by its header alone, with as much foreground as KiTS has."""
    histogram = np.array([int(_FOREGROUND * math.prod(grid.shape))])
    return CaseFacts(name, "", grid.spacing_mm, histogram, shape=grid.shape)


def _seconds_to_prepare(case: Case, config: TrainConfig) -> float:
    """Read, measured, read again and resampled, as the fingerprint and the cache do it."""
    begun = time.monotonic()
    as_kidney = config.cysts_as_kidney
    recipe = make_recipe([measure(case, config.label_set, cysts_as_kidney=as_kidney)], config)
    with open_pair(case, recipe.labels, cysts_as_kidney=as_kidney) as (planes, label):
        prepare(planes, label, recipe, max_slices=config.max_slices)
    return time.monotonic() - begun


def _seconds_a_step(config: TrainConfig, patches: int, device: torch.device) -> float:
    """Of the second of two steps: the first one's compiles and finds memory."""
    rng = np.random.default_rng(0)
    shape = (patches, *config.patch)
    image = rng.standard_normal((patches, 1, *config.patch)).astype(np.float32)
    batch = PatchBatch(image, rng.integers(0, len(config.label_set), shape).astype(np.uint8))
    precision = Precision(config.precision, device)
    network = DeepLab3D(architecture_of(config.architecture, config.outputs)).to(device, precision.dtype).train()
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    begun = 0.0
    for _ in range(2):
        begun = time.monotonic()
        train_step(network, optimizer, to_tensors(batch, device, precision.dtype), config, precision).total.item()
    return time.monotonic() - begun
