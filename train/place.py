"""`Place`: where a training runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kits_submit.machine.processors import processors
from train.compute.distributed import Workers
from train.records.events import Events


@dataclass(frozen=True)
class Place:
    """Where a training runs: its workers, its device, and who hears of it.

    - `jobs`: processes that read cases at once on this machine, as far as memory allows; None: one a processor.
    """

    workers: Workers
    device: torch.device
    events: Events
    jobs: int | None = None

    @property
    def own_jobs(self) -> int:
        """This worker's share of them."""
        return max(1, (self.jobs or processors()) // self.workers.world)
