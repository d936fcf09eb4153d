"""Whether a case fits into memory, from its header alone, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kits_submit.cases import Case
from kits_submit.errors import BudgetError, KitsError
from kits_submit.grid import target_shape
from kits_submit.limits import FreeMemory, free_memory
from kits_submit.pipeline import CaseResult, refuse_impossible
from kits_submit.recipe import Recipe
from kits_submit.types import Shape, Spacing
from kits_submit.volume import read_grid

# Measured by benchmarks/memory.py (docs/container.md): peak resident set over a process with its engine loaded, the
# least that fits all of its cases from below, so that a case which would fit is never refused.
_FIXED_BYTES = 150e6
_BYTES_PER_VOXEL = 8.0
_BYTES_PER_NETWORK_VOXEL = 8.0


def least_bytes(shape: Shape, spacing_mm: Spacing, recipe: Recipe) -> int:
    """What segmenting a volume takes at least, beyond a process with its engine loaded."""
    voxels, network_voxels = (float(np.prod(n)) for n in (shape, target_shape(shape, spacing_mm, recipe.spacing_mm)))
    return int(_FIXED_BYTES + _BYTES_PER_VOXEL * voxels + _BYTES_PER_NETWORK_VOXEL * network_voxels)


def oversized(cases: Sequence[Case], recipe: Recipe) -> list[CaseResult]:
    """The cases, as failed ones, that would not fit into the memory now free.

    A case that fails for its header is not among them: it tells so by itself when its turn comes.
    """
    free = free_memory()
    if free is None:
        return []
    failed = []
    for case in cases:
        error = _refusal(case, recipe, free)
        if error is not None:
            failed.append(CaseResult(case.case_id, status="failed", error=str(error), exit_code=error.exit_code))
    return failed


def _refusal(case: Case, recipe: Recipe, free: FreeMemory) -> BudgetError | None:
    if case.image is None:
        return None
    try:
        grid = read_grid(case.image)
        refuse_impossible(grid, target_shape(grid.shape, grid.spacing_mm, recipe.spacing_mm))
    except KitsError:
        return None
    needed = least_bytes(grid.shape, grid.spacing_mm, recipe)
    if needed <= free.free_bytes:
        return None
    return BudgetError(
        f"needs at least {needed / 1e9:.1f} GB for {grid.shape} voxels (Z, Y, X), "
        f"{free.free_bytes / 1e9:.1f} GB are free of {free.limit_bytes / 1e9:.1f} GB {free.source}",
        fix="give it more memory, or --no-memory-check to try",
        path=case.image,
    )
