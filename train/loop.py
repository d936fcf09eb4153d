"""The loop: sampler -> network -> loss -> Adam -> mean weights, one report a step. Knows no files, prints nothing.

Tensors are `channels_last_3d`, which halves a step on a CPU. Dropout's random numbers are seeded by (seed, step), so a
step is a function of the state before it and of its number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kits_submit.errors import ModelError
from train.config import TrainConfig
from train.ema import MeanWeights
from train.losses import LossParts, combined_loss
from train.network.deeplab import DeepLab3D
from train.sampler import PatchBatch, Sampler
from train.schedule import Plateau, cosine


@dataclass(frozen=True)
class Limits:
    """Where to stop before the config says so: after `minutes` of training; None never."""

    minutes: float | None = None


@dataclass(frozen=True)
class StepReport:
    """One step done. `step` counts from 1; `progress` runs to 1; `data_s` is the part of `seconds` spent on patches."""

    step: int
    epoch: int
    progress: float
    loss: float
    tversky: float
    focal: float
    learning_rate: float
    seconds: float
    data_s: float


class Trainer:
    """The state of one training: network, its mean, optimizer, schedule, steps done."""

    def __init__(self, network: DeepLab3D, sampler: Sampler, config: TrainConfig) -> None:
        self.network = network.to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
        self.sampler = sampler
        self.config = config
        self.mean = MeanWeights(self.network, config.ema_decay)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.plateau = Plateau(
            config.learning_rate, config.plateau_factor, config.plateau_patience, config.min_learning_rate
        )
        self.step = 0
        self.epoch_losses: list[float] = []

    @property
    def epoch(self) -> int:
        """Counted from 0."""
        return self.step // self.sampler.steps_per_epoch

    @property
    def planned_steps(self) -> int:
        """What the config asks for, where no limit and no plateau ends it before."""
        planned = self.config.max_epochs * self.sampler.steps_per_epoch
        return planned if self.config.max_steps is None else min(planned, self.config.max_steps)

    def fit(self, limits: Limits, on_step: Callable[[StepReport], None]) -> None:
        """Train until the config or `limits` says stop. A time limit also shortens a cosine schedule to fit it."""
        started = time.monotonic()
        while not self._ended():
            elapsed = time.monotonic() - started
            progress = self.step / self.planned_steps
            if limits.minutes is not None:
                progress = max(progress, elapsed / (60 * limits.minutes))
            if progress >= 1:
                break
            on_step(self._train_step(progress))

    def state(self) -> dict[str, Any]:
        """What going on needs besides the weights: plain values and tensors."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "plateau": asdict(self.plateau),
            "mean_updates": self.mean.updates,
            "epoch_losses": list(self.epoch_losses),
        }

    def _ended(self) -> bool:
        return self.step >= self.planned_steps or (self.config.schedule == "plateau" and self.plateau.ended)

    def _train_step(self, progress: float) -> StepReport:
        started = time.monotonic()
        batch = self.sampler.batch(self.step)
        waited = time.monotonic() - started
        rate = self._learning_rate(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(int(np.random.SeedSequence((self.config.seed, 2, self.step)).generate_state(1)[0]))
        parts = train_step(self.network, self.optimizer, batch, self.config)
        self.mean.update(self.network)
        loss = parts.total.item()
        epoch = self.epoch
        self._count(loss)
        return StepReport(
            step=self.step,
            epoch=epoch,
            progress=min(progress + 1 / self.planned_steps, 1.0),
            loss=loss,
            tversky=parts.tversky.item(),
            focal=parts.focal.item(),
            learning_rate=rate,
            seconds=time.monotonic() - started,
            data_s=waited,
        )

    def _learning_rate(self, progress: float) -> float:
        if self.config.schedule == "cosine":
            return cosine(self.config.learning_rate, progress)
        return self.plateau.rate

    def _count(self, loss: float) -> None:
        self.step += 1
        self.epoch_losses.append(loss)
        if self.step % self.sampler.steps_per_epoch == 0:
            self.plateau.epoch_ended(float(np.mean(self.epoch_losses)))
            self.epoch_losses.clear()


def train_step(
    network: DeepLab3D, optimizer: torch.optim.Optimizer, batch: PatchBatch, config: TrainConfig
) -> LossParts:
    """Forward, backward, one optimizer step. The parts come back detached.

    Raises:
        ModelError: the loss is not finite; the weights are as before, the BN statistics are not.
    """
    image, label = to_tensors(batch)
    parts = combined_loss(
        network(image),
        label,
        alpha=config.tversky_alpha,
        beta=config.tversky_beta,
        focal_weight=config.focal_weight,
        gamma=config.focal_gamma,
    )
    if not torch.isfinite(parts.total):
        raise ModelError(f"the training diverged: the loss is {parts.total.item()}", fix="lower the learning rate")
    optimizer.zero_grad(set_to_none=True)
    parts.total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return LossParts(parts.total.detach(), parts.tversky.detach(), parts.focal.detach())


def to_tensors(batch: PatchBatch) -> tuple[Tensor, Tensor]:
    """Image NCZYX float32 in `channels_last_3d`, label NZYX int64."""
    image = torch.from_numpy(batch.image).to(memory_format=torch.channels_last_3d)
    return image, torch.from_numpy(batch.label).long()
