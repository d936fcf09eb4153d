"""What preparing cases takes, before it does: memory by a case's header, disk by what was measured of it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from kits_submit.errors import KitsError, OutputError
from kits_submit.files.cases import Case
from kits_submit.files.volume import read_grid
from kits_submit.inference.grid import target_shape
from kits_submit.machine.pool import jobs_in_memory
from kits_submit.types import Shape, Spacing
from train.data.fingerprint import CaseFacts

_PROCESS_BYTES = 250 << 20  # a process with its libraries
_BYTES = 6  # a voxel, measured: the labels, the planes in hand, the case on its new grid (benchmarks/preparing.py)
_VOXELS_A_PROCESS = 64 << 20  # fewer are read before a process has started
_STORED_BYTES = 3  # a voxel in the cache: float16 and uint8
_INDEX_BYTES = 2 * 8  # a foreground voxel: in `foreground` and in its class


def jobs_for(shapes: Sequence[Shape], most: int) -> int:
    """Processes that read cases of these shapes (Z, Y, X) at once: at most `most`, as memory allows, worth starting."""
    worth = math.ceil(sum(map(math.prod, shapes)) / _VOXELS_A_PROCESS)
    return max(1, min(most, worth, jobs_in_memory([memory_bytes(shape) for shape in shapes])))


def memory_bytes(shape: Shape) -> int:
    """Of a process that reads a case and resamples it."""
    return _PROCESS_BYTES + _BYTES * math.prod(shape)


def shapes_of(cases: Iterable[Case]) -> list[Shape]:
    """Voxels along Z, Y, X by the images' headers; (1, 1, 1) where one cannot be read, which is told in its turn."""
    return [_shape_of(case) for case in cases]


def _shape_of(case: Case) -> Shape:
    try:
        return (1, 1, 1) if case.image is None else read_grid(case.image).shape
    except KitsError:
        return 1, 1, 1


def cache_bytes(facts: CaseFacts, spacing_mm: Spacing, max_slices: int) -> int:
    """Of a case in the cache: its arrays and index lists on a grid of `spacing_mm`."""
    z, y, x = target_shape(facts.shape, facts.spacing_mm, spacing_mm)
    share = z * y * x / math.prod(facts.shape)
    return min(z, max_slices) * y * x * _STORED_BYTES + int(facts.foreground * share) * _INDEX_BYTES


def check_room(needed_bytes: int, cases: int, root: Path) -> str:
    """A line on what the cache takes of the disk that it lies on.

    Raises:
        OutputError: that has less free.
    """
    there = next(folder for folder in (root, *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    what = f"the cache takes {needed_bytes / 1e9:.1f} GB for {cases} cases, {free / 1e9:.1f} GB are free"
    if needed_bytes > free:
        raise OutputError(what, fix="free some, or give --cache on another disk", path=root)
    return f"{what} ({root})"
