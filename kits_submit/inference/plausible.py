"""Whether a volume can be what it says, from its grid alone, before a voxel of it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kits_submit.errors import VolumeError
from kits_submit.files.volume import Grid
from kits_submit.inference.grid import target_shape
from kits_submit.inference.oblique import Upright
from kits_submit.types import Shape, Spacing

_LONGEST_MM = (2500.0, 1200.0, 1200.0)  # along Z, Y, X: a tall patient; the widest bore is 0.9 m
_SHORTEST_MM, _FINEST_MM = 50.0, 0.2  # a kidney is 100 mm long, a voxel of a CT of the abdomen 0.35 mm
_MOST_VOXELS = 1 << 30
_FEW_SLICES = 5


def network_shape(grid: Grid, spacing_mm: Spacing, upright: Upright | None = None) -> Shape:
    """Voxels along Z, Y, X of a volume on a network's grid: an upright one around a volume that is oblique.

    A larger or a far smaller field of view than a body's is a wrong unit: the one would need terabytes, the other has
    an empty mask.

    Raises:
        VolumeError: it cannot be a body, or is too large to compute.
    """
    extent_mm = [n * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    too_long = any(mm > most for mm, most in zip(extent_mm, _LONGEST_MM, strict=True))
    if too_long or (max(extent_mm) < _SHORTEST_MM and min(grid.spacing_mm) < _FINEST_MM):
        raise VolumeError(
            f"it spans {_told(extent_mm)} mm ({grid.shape} voxels of {_told(grid.spacing_mm)} mm), and no body does",
            fix="correct the spacing in its header: NIfTI affines are in mm",
            path=grid.path,
        )
    shape = target_shape(grid.shape, grid.spacing_mm, spacing_mm) if upright is None else upright.shape
    refuse_too_large(shape, grid)
    return shape


def refuse_too_large(shape: Shape, grid: Grid) -> None:
    """Raises: VolumeError: a volume has more voxels on a network's grid than can be computed."""
    if math.prod(shape) > _MOST_VOXELS:
        raise VolumeError(
            f"it has {shape} voxels at the network's spacing", fix="crop it to the abdomen", path=grid.path
        )


def slab_note(grid: Grid) -> tuple[str, ...]:
    """A line where the volume has too few slices to hold a kidney."""
    slices = grid.shape[0]
    if slices > _FEW_SLICES:
        return ()
    return (f"it has {slices} slice{'s' if slices > 1 else ''} ({slices * grid.spacing_mm[0]:.3g} mm)",)


def _told(lengths_mm: Iterable[float]) -> str:
    return " x ".join(f"{mm:.0f}" if mm >= 10 else f"{mm:.3g}" for mm in lengths_mm)
