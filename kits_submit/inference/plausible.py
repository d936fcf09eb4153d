"""Whether a volume can be what it says, from its grid alone, before a voxel of it is read."""

from __future__ import annotations

import math

from kits_submit.errors import VolumeError
from kits_submit.files.volume import Grid
from kits_submit.inference.grid import target_shape
from kits_submit.types import Shape, Spacing

_LONGEST_MM = 4000.0
_MOST_VOXELS = 1 << 30


def network_shape(grid: Grid, spacing_mm: Spacing) -> Shape:
    """Voxels along Z, Y, X of a volume on a network's grid.

    A body is no longer than a few metres: a larger field of view is a wrong unit, and would need terabytes.

    Raises:
        VolumeError: it cannot be a body, or is too large to compute.
    """
    shape = target_shape(grid.shape, grid.spacing_mm, spacing_mm)
    extent_mm = [n * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    if max(extent_mm) > _LONGEST_MM:
        raise VolumeError(
            f"it spans {max(extent_mm):.0f} mm ({grid.shape} voxels of {grid.spacing_mm} mm)",
            fix="correct the spacing in its header: NIfTI affines are in mm",
            path=grid.path,
        )
    if math.prod(shape) > _MOST_VOXELS:
        raise VolumeError(
            f"it has {shape} voxels at the network's spacing", fix="crop it to the abdomen", path=grid.path
        )
    return shape
