"""Score cases one after another, or several at a time in processes, as many as memory allows."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

from evaluation.case import Settings, score_case
from evaluation.masks.matching import Pair
from evaluation.report import Row
from kits_submit.errors import KitsError
from kits_submit.files.volume import read_grid
from kits_submit.machine.limits import free_memory

PROCESS_BYTES = 300 << 20  # a worker with its libraries and working memory, beside its two label arrays
MEMORY_SHARE = 0.8


def map_cases(settings: Settings, pairs: Sequence[Pair], jobs: int) -> Iterator[Row]:
    """Each pair's row, in order. A worker that dies (out of memory) hands its cases on to this process."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    jobs = min(jobs, len(pairs), _jobs_in_memory(pairs)) if jobs > 1 and len(pairs) > 1 else 1
    done = 0
    if jobs > 1:
        try:
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_leave_stopping) as pool:
                try:
                    for row in pool.map(score_case, [settings] * len(pairs), pairs):
                        yield row
                        done += 1
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
        except BrokenProcessPool:
            pass
    for pair in pairs[done:]:
        yield score_case(settings, pair)


def _leave_stopping() -> None:
    """Ctrl-C reaches every process of a terminal; only the first answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _jobs_in_memory(pairs: Sequence[Pair]) -> int:
    """How many of the largest cases fit into the memory that is free."""
    largest = max((_voxels(truth) for _, _, truth in pairs if isinstance(truth, Path)), default=0)
    free = free_memory()
    if free is None:
        return len(pairs)
    return max(1, int(MEMORY_SHARE * free.free_bytes / (2 * largest + PROCESS_BYTES)))


def _voxels(path: Path) -> int:
    try:
        z, y, x = read_grid(path).stored_shape[:3]
    except KitsError:
        return 0
    return z * y * x
