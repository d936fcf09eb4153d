"""Whether a case fits into memory, from its header alone, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kits_submit.batch.outcome import CaseResult
from kits_submit.errors import BudgetError, KitsError
from kits_submit.files.cases import Case
from kits_submit.files.volume import Grid, read_grid
from kits_submit.inference.frame import Frame
from kits_submit.inference.grid import target_shape
from kits_submit.inference.oblique import upright_of
from kits_submit.inference.plausible import network_shape
from kits_submit.machine.limits import free_memory
from kits_submit.recipe import Recipe
from kits_submit.types import Shape, Spacing

# Measured by benchmarks/memory.py (docs/container.md): growth of the resident set over a process with its engine
# loaded. It depends on the engine and on how much of the volume the kidneys' box takes (the rest is never touched), so
# there are two bounds: a case is refused by the lower one alone, so that none that would fit is refused, and noted by
# the upper one.
_LEAST = (90e6, 0.0, 1.0)  # bytes: fixed, a voxel of the volume, a voxel of it at the network's spacing
_MOST = (500e6, 9.0, 16.0)


def least_bytes(shape: Shape, spacing_mm: Spacing, recipe: Recipe) -> int:
    """What segmenting a volume takes at least, beyond a process with its engine loaded."""
    return _bytes(_LEAST, shape, spacing_mm, recipe)


def most_bytes(shape: Shape, spacing_mm: Spacing, recipe: Recipe) -> int:
    """What it may take at most."""
    return _bytes(_MOST, shape, spacing_mm, recipe)


@dataclass(frozen=True)
class Fit:
    """- `refused`: the cases, as failed ones, that cannot fit into the memory now free.
    - `tight`: a line on each that may not.
    """

    refused: list[CaseResult]
    tight: list[str]


def check_fit(cases: Sequence[Case], recipe: Recipe) -> Fit:
    """Look at every case's header. A case that fails for it is in neither list: it tells so when its turn comes."""
    fit = Fit([], [])
    free = free_memory()
    if free is None:
        return fit
    told = f"{free.free_bytes / 1e9:.1f} GB are free of {free.limit_bytes / 1e9:.1f} GB {free.source}"
    for case in cases:
        grid = _grid(case, recipe)
        if grid is None:
            continue
        least, most = _bounds(grid, recipe)
        if least > free.free_bytes:
            what = f"needs at least {least / 1e9:.1f} GB for {grid.shape} voxels (Z, Y, X), {told}"
            error = BudgetError(what, fix="give it more memory, or --no-memory-check to try", path=case.image)
            fit.refused.append(CaseResult(case.case_id, "failed", error=str(error), exit_code=error.exit_code))
        elif most > free.free_bytes:
            fit.tight.append(f"{case.case_id} needs {least / 1e9:.1f} to {most / 1e9:.1f} GB, {told}")
    return fit


def bounds(case: Case, recipe: Recipe) -> tuple[int, int] | None:
    """The least and the most bytes that the case takes; None where its header cannot be read."""
    grid = _grid(case, recipe)
    return None if grid is None else _bounds(grid, recipe)


def _bounds(grid: Grid, recipe: Recipe) -> tuple[int, int]:
    whole = _upright_bytes(grid, recipe)
    least, most = (of(grid.shape, grid.spacing_mm, recipe) + whole for of in (least_bytes, most_bytes))
    return least, most


def _grid(case: Case, recipe: Recipe) -> Grid | None:
    if case.image is None:
        return None
    try:
        grid = read_grid(case.image)
        network_shape(grid, Frame.of(grid, recipe).back(recipe.spacing_mm), upright_of(grid, recipe))
    except KitsError:
        return None
    return grid


def _upright_bytes(grid: Grid, recipe: Recipe) -> int:
    """Of the image and the scores, which stand whole where the volume is oblique (`kits_submit.inference.oblique`)."""
    upright = upright_of(grid, recipe)
    return 0 if upright is None else 4 * (1 + recipe.outputs) * math.prod(upright.shape)


def _bytes(coefficients: tuple[float, float, float], shape: Shape, spacing_mm: Spacing, recipe: Recipe) -> int:
    fixed, per_voxel, per_network_voxel = coefficients
    network_shape = target_shape(shape, spacing_mm, recipe.spacing_mm)
    return int(fixed + per_voxel * math.prod(shape) + per_network_voxel * math.prod(network_shape))
