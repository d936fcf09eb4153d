"""Memory, threads and GPU memory of a tree of processes, sampled while it runs (Linux)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from kits_submit.machine.nvidia import gpu_bytes

PERIOD_S = 0.1  # FLARE's evaluation samples at this rate
_GPU_PERIOD_S = 0.5
_PROC = Path("/proc")


@dataclass(frozen=True)
class Sample:
    """- `at`: seconds since the epoch; `resident`: bytes of all processes; `gpu`: bytes above those before the run."""

    at: float
    resident: int
    threads: int
    gpu: int


@dataclass(frozen=True)
class Usage:
    """What a stretch of the run took; `byte_seconds`: the area under resident memory over time (FLARE's measure).

    - `gpu_byte_seconds`: the same of GPU memory.
    """

    seconds: float
    resident: int = 0
    threads: int = 0
    gpu: int = 0
    byte_seconds: float = 0.0
    gpu_byte_seconds: float = 0.0


class Sampler:
    """Samples in a thread from `start` to `stop`.

    Args:
        root: the process whose tree is measured, None while it is not known yet.
        on_sample: told each sample; for a watch that must act.
    """

    def __init__(self, root: Callable[[], int | None], on_sample: Callable[[Sample], None]) -> None:
        self._root = root
        self._on_sample = on_sample
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._watch_memory, daemon=True)]
        self._gpu_before = gpu_bytes()
        self._gpu_now = 0
        if self._gpu_before is not None:
            self._threads.append(threading.Thread(target=self._watch_gpu, daemon=True))
        self.samples: list[Sample] = []

    @property
    def sees_gpu(self) -> bool:
        return self._gpu_before is not None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _watch_memory(self) -> None:
        while not self._done.wait(PERIOD_S):
            root = self._root()
            resident, threads = tree_usage(root) if root is not None else (0, 0)
            self.samples.append(Sample(time.time(), resident, threads, self._gpu_now))
            self._on_sample(self.samples[-1])

    def _watch_gpu(self) -> None:
        while not self._done.wait(_GPU_PERIOD_S):
            now = gpu_bytes()
            if now is not None and self._gpu_before is not None:
                self._gpu_now = max(0, now - self._gpu_before)


def usage(samples: Sequence[Sample], started: float, ended: float) -> Usage:
    """Peaks and areas of the samples of a stretch of time, the areas by the trapezoidal rule."""
    some = [sample for sample in samples if started <= sample.at <= ended]
    pairs = list(pairwise(some))
    return Usage(
        seconds=ended - started,
        resident=max((s.resident for s in some), default=0),
        threads=max((s.threads for s in some), default=0),
        gpu=max((s.gpu for s in some), default=0),
        byte_seconds=sum((b.at - a.at) * (a.resident + b.resident) / 2 for a, b in pairs),
        gpu_byte_seconds=sum((b.at - a.at) * (a.gpu + b.gpu) / 2 for a, b in pairs),
    )


def tree_usage(root: int) -> tuple[int, int]:
    """(resident bytes, threads) of a process and all below it; pages that they share count once for each."""
    resident = threads = 0
    for pid in _tree(root):
        try:
            fields = dict(line.split(":", 1) for line in (_PROC / str(pid) / "status").read_text().splitlines())
        except (OSError, ValueError):
            continue
        resident += 1024 * int(fields.get("VmRSS", "0 kB").split()[0])
        threads += int(fields.get("Threads", "1"))
    return resident, threads


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for task in (_PROC / str(pid) / "task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except (OSError, ValueError):
                continue
    return found
