"""The loop: sampler -> network -> loss -> Adam -> mean weights, one report a step. Knows no files, prints nothing.

Tensors are `channels_last_3d`, which halves a step on a CPU. Dropout's random numbers are seeded by seed, step and
worker, so a step is a function of the state before it and of its number: a training that goes on from a checkpoint
takes the very steps that it would have taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kits_submit.errors import ModelError
from train.compute.device import Precision, compiled, gpu_mb
from train.compute.distributed import Workers, synchronise
from train.compute.threads import numpy_on_one_thread
from train.config import TrainConfig
from train.data.prefetch import Prefetcher
from train.data.sampler import PatchBatch, Sampler
from train.fit.checkpoint import tumor_channels
from train.fit.ema import MeanWeights
from train.fit.losses import LossParts, Reduce, combined_loss
from train.fit.region_losses import region_loss
from train.fit.schedule import Plateau, cosine
from train.network.deeplab import DeepLab3D
from train.records.reports import StepReport


@dataclass(frozen=True)
class Limits:
    """Where to stop before the config says so: after `minutes` of training; None never."""

    minutes: float | None = None


class Trainer:
    """The state of one training: network, its mean, optimizer, schedule, steps done."""

    def __init__(
        self,
        network: DeepLab3D,
        sampler: Sampler,
        config: TrainConfig,
        workers: Workers | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.workers = workers or Workers()
        self.device = device or torch.device("cpu")
        self.precision = Precision(config.precision, self.device)
        self.network = network.to(self.device, self.precision.dtype).train()
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.sampler = sampler
        self.config = config
        self.mean = MeanWeights(self.network, config.ema_decay)
        synchronise(self.network, self.workers, self.device)
        self.model = self.workers.wrap(compiled(self.network, config), self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.plateau = Plateau(
            config.learning_rate, config.plateau_factor, config.plateau_patience, config.min_learning_rate
        )
        self.step = 0
        self.trained_s = 0.0
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
        """Train until the config or `limits` says stop. A time limit also shortens a cosine schedule to fit it.

        Time counts over all that trained before a resumption, without what `on_step` takes. With a time limit the
        steps depend on the clock, so that two trainings differ.
        """
        reading = Prefetcher(self.sampler.batch, threads=self.config.loaders, last=self.planned_steps)
        with numpy_on_one_thread(), reading as patches:
            while not self.ended:
                progress = self._progress(limits)
                if progress >= 1:
                    break
                report = self._train_step(progress, patches)
                self.trained_s += report.seconds
                on_step(report)

    @property
    def ended(self) -> bool:
        """The config asks for no further step."""
        return self.step >= self.planned_steps or (self.config.schedule == "plateau" and self.plateau.ended)

    def state(self) -> dict[str, Any]:
        """What going on needs besides the weights: plain values and tensors."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "plateau": asdict(self.plateau),
            "mean_updates": self.mean.updates,
            "epoch_losses": list(self.epoch_losses),
            "trained_s": self.trained_s,
            "world": self.workers.world,
            "threads": torch.get_num_threads(),
        }

    def restore(self, step: int, mean: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go on from another trainer's `state`, its step and its mean weights; the network has its weights already.

        Raises:
            ModelError: it is not such a state, or another number of workers' (which would draw other batches).
        """
        try:
            if state["world"] != self.workers.world:
                what = f"the checkpoint is of {state['world']} workers, this is a run of {self.workers.world}"
                raise ModelError(what, fix="resume with as many")
            self.optimizer.load_state_dict(state["optimizer"])
            self.precision.scaler.load_state_dict(state["scaler"])
            self.plateau = Plateau(**state["plateau"])
            self.mean.updates = int(state["mean_updates"])
            self.epoch_losses = list(state["epoch_losses"])
            self.trained_s = float(state["trained_s"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the checkpoint cannot be resumed ({error})", fix="train again") from None
        self.mean.network.load_state_dict(dict(mean))
        self.step = step

    def _progress(self, limits: Limits) -> float:
        progress = self.step / self.planned_steps
        if limits.minutes is None:
            return progress
        return max(progress, self.workers.from_first(self.trained_s) / (60 * limits.minutes))

    def _train_step(self, progress: float, patches: Prefetcher[PatchBatch]) -> StepReport:
        started = time.monotonic()
        batch = patches.get(self.step)
        waited = time.monotonic() - started
        rate = self._learning_rate(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        seed = np.random.SeedSequence((self.config.seed, 2, self.step, self.workers.rank))
        torch.manual_seed(int(seed.generate_state(1)[0]))
        parts = train_step(
            self.model,
            self.optimizer,
            to_tensors(batch, self.device, self.precision.dtype),
            self.config,
            self.precision,
            reduce=self.workers.sum if self.workers.world > 1 else None,
        )
        self.mean.update(self.network)
        tversky, focal = (self.workers.mean(part).item() for part in (parts.tversky, parts.focal))
        loss = tversky + self.config.focal_weight * focal
        epoch = self.epoch
        self._count(loss)
        return StepReport(
            step=self.step,
            epoch=epoch,
            progress=min(progress + 1 / self.planned_steps, 1.0),
            loss=loss,
            tversky=tversky,
            focal=focal,
            learning_rate=rate,
            seconds=time.monotonic() - started,
            data_s=waited,
            patches=self.sampler.size,
            gpu_mb=gpu_mb(self.device),
            epoch_ended=self.epoch > epoch,
        )

    def _learning_rate(self, progress: float) -> float:
        if self.config.schedule == "cosine":
            return cosine(self.config.learning_rate, progress, self.config.warmup)
        return self.plateau.rate

    def _count(self, loss: float) -> None:
        self.step += 1
        self.epoch_losses.append(loss)
        if self.step % self.sampler.steps_per_epoch == 0:
            self.plateau.epoch_ended(float(np.mean(self.epoch_losses)))
            self.epoch_losses.clear()


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: tuple[Tensor, Tensor],
    config: TrainConfig,
    precision: Precision,
    *,
    reduce: Reduce | None = None,
) -> LossParts:
    """Forward, backward, one optimizer step. The parts come back detached.

    Raises:
        ModelError: the loss is not finite; the weights are as before, the BN statistics are not.
    """
    image, label = tensors
    with precision.autocast():
        logits = model(image)
    regions = config.regions
    parts = (combined_loss if regions is None else partial(region_loss, regions=regions))(
        shifted(logits.to(precision.dtype), config.tumor_shift, tumor_channels(config.label_set, regions)),
        label,
        alpha=config.tversky_alpha,
        beta=config.tversky_beta,
        focal_weight=config.focal_weight,
        gamma=config.focal_gamma,
        smooth=config.tversky_smooth,
        per_patch=config.tversky_over == "patch",
        reduce=reduce,
    )
    if not torch.isfinite(parts.total):
        raise ModelError(f"the training diverged: the loss is {parts.total.item()}", fix="lower the learning rate")
    precision.step(parts.total, optimizer)
    return LossParts(parts.total.detach(), parts.tversky.detach(), parts.focal.detach())


def shifted(logits_NKZYX: Tensor, tumor_shift: float, channels: Sequence[int]) -> Tensor:
    """The logits with `tumor_shift` taken off the tumor's channels: what the loss sees."""
    if not tumor_shift:
        return logits_NKZYX
    shift = torch.zeros(logits_NKZYX.shape[1], dtype=logits_NKZYX.dtype, device=logits_NKZYX.device)
    shift[list(channels)] = tumor_shift
    return logits_NKZYX - shift[:, None, None, None]


def to_tensors(batch: PatchBatch, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Image NCZYX of `dtype` in `channels_last_3d`, label NZYX int64; copied to a GPU without waiting for it."""
    image, label = torch.from_numpy(batch.image), torch.from_numpy(batch.label)
    if device.type == "cuda":
        image, label = image.pin_memory(), label.pin_memory()
    image = image.to(device, dtype, non_blocking=True).to(memory_format=torch.channels_last_3d)
    return image, label.to(device, non_blocking=True).long()
