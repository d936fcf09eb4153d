"""Score cases one after another, or several at a time in processes, as many as memory allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from evaluation.case import Settings, score_case
from evaluation.masks.matching import Pair
from evaluation.report import Row
from kits_submit.errors import KitsError
from kits_submit.files.volume import read_grid
from kits_submit.machine.pool import in_processes, jobs_in_memory

PROCESS_BYTES = 300 << 20  # a worker with its libraries and working memory, beside its two label arrays


def map_cases(settings: Settings, pairs: Sequence[Pair], jobs: int) -> Iterator[Row]:
    """Each pair's row, in order. A worker that dies (out of memory) hands its cases on to this process."""
    if jobs > 1 and len(pairs) > 1:
        jobs = min(jobs, jobs_in_memory([2 * _largest(pairs) + PROCESS_BYTES] * len(pairs)))
    return in_processes(partial(score_case, settings), pairs, jobs)


def _largest(pairs: Sequence[Pair]) -> int:
    return max((_voxels(truth) for _, _, truth in pairs if isinstance(truth, Path)), default=0)


def _voxels(path: Path) -> int:
    try:
        z, y, x = read_grid(path).stored_shape[:3]
    except KitsError:
        return 0
    return z * y * x
