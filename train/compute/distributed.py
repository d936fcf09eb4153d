"""Several workers as one: what `torchrun` starts, sums over workers that gradients pass through, batch norm over all.

    torchrun --nproc-per-node 2 .venv/bin/kits-submit train ...

Each worker holds the network, draws its part of the batch, and computes the same step: `DistributedDataParallel` takes
the mean of the gradients, so a worker's loss is the whole batch's Tversky and its own Focal, whose mean is the whole
batch's. gloo on CPUs, NCCL on GPUs. Without torchrun there is one worker, and nothing here does anything.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_PATIENCE = timedelta(hours=12)  # the first worker may draw phantoms, or the last validate the largest case


@dataclass(frozen=True)
class Workers:
    """This worker's number among `world`."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """The one that writes files and speaks."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Over all workers, on each of them; gradients pass."""
        return value if self.world == 1 else _Sum.apply(value)  # type: ignore[no-untyped-call]

    def mean(self, value: Tensor) -> Tensor:
        """Over all workers, without gradient."""
        if self.world == 1:
            return value.detach()
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.world

    def map(self, work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """`work` of each item, the items shared out; every worker gets all results, in order."""
        return self.share(items, lambda own: map(work, own))

    def share(self, items: Sequence[_Item], work: Callable[[Sequence[_Item]], Iterable[_Result]]) -> list[_Result]:
        """`work` of this worker's share of the items, which gives a result each in order; all get all, in order."""
        shares = self.gather(list(work(items[self.rank :: self.world])))
        return [shares[i % self.world][i // self.world] for i in range(len(items))]

    def gather(self, value: _Item) -> list[_Item]:
        """Each worker's value, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: _Item) -> _Item:
        """The first worker's value."""
        return self.gather(value)[0]

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network whose backward pass takes the mean of the gradients over all workers."""
        if self.world == 1:
            return network
        # oneDNN picks a gradient's layout itself; copying 2 MB into DDP's own layout costs nothing that can be measured
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            network, device_ids=ids, forward_sync_buffers=False, gradient_as_bucket_view=True
        )


class _Sum(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduced gradient: every worker's loss depends on every worker's part."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.contiguous().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm3d):
    """Batch norm over the batches of all workers, where torch's own `SyncBatchNorm` wants a GPU.

    Mean first, then the mean square around it: two sums over workers, as stable as one worker's two passes.
    """

    workers = Workers()

    def forward(self, x: Tensor) -> Tensor:
        """Normalised `x`; running statistics follow the whole batch's."""
        if not self.training:
            return super().forward(x)
        axes = (0, *range(2, x.dim()))
        count = x.numel() // x.shape[1] * self.workers.world
        mean = self.workers.sum(x.sum(axes)) / count
        shape = (1, -1, *(1,) * (x.dim() - 2))
        centred = x - mean.view(shape)
        variance = self.workers.sum(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return centred * scale.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None and self.momentum is not None:
                running.lerp_(value, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def synchronise(network: nn.Module, workers: Workers, device: torch.device) -> None:
    """Every batch norm of `network` over all workers, in place: same weights, same names."""
    if workers.world == 1:
        return
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm3d):
                setattr(parent, name, _shared(child, workers, device))


def _shared(norm: nn.BatchNorm3d, workers: Workers, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        on_gpu: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        return on_gpu
    shared = SharedBatchNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    shared.weight, shared.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        shared.register_buffer(name, buffer)
    shared.workers = workers
    return shared.train(norm.training)


@contextmanager
def joined(device: torch.device) -> Iterator[Workers]:
    """The workers that torchrun started; one alone without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Workers()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Workers(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
