"""Cubic resampling of a volume that arrives plane by plane, as `scipy.ndimage.zoom` has it, in bounded memory.

`zoom(order=3, mode="nearest", grid_mode=True)`, which nnU-Net resamples images with (by skimage's `resize`), first
filters an axis forth and back, so that each output depends on every input; but by 0.27 less from one to the next
(sqrt(3) - 2, the filter's pole). So two axes are products with their whole matrix, and along the third the weights
above 1e-7 are a band of some 26 planes, which is all that is held.

Overshoot beyond the volume's own values is cut, as skimage's `clip` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from kits_submit.inference.grid import Neighbours, resample_in_plane
from kits_submit.types import Shape

Matrix = npt.NDArray[np.float32]
Plane = tuple[int, npt.NDArray[np.float32]]
_NEGLIGIBLE = 1e-7


@lru_cache(maxsize=8)
def cubic(n_in: int, n_out: int) -> Matrix:
    """Cubic spline interpolation of `n_out` voxels over the extent of `n_in`, as an (n_out, n_in) matrix."""
    from scipy import ndimage

    unit = np.eye(n_in)
    made = ndimage.zoom(unit, (n_out / n_in, 1), order=3, mode="nearest", grid_mode=True)
    assert made.shape == (n_out, n_in), f"{made.shape} for {n_out} of {n_in}"
    return np.ascontiguousarray(made, np.float32)


@dataclass(frozen=True)
class Along:
    """Resampling of the three axes of a volume.

    - `matrices`: of Z, Y, X, (n_out, n_in) each; None for the identity.
    - `apart`: the axis that takes the nearest voxel; overshoot is cut plane by plane where planes lie across it.
    """

    matrices: tuple[Matrix | None, Matrix | None, Matrix | None]
    apart: int | None

    @classmethod
    def between(cls, shape: Shape, wanted: Shape, apart: int | None) -> Self:
        """From one grid to another over the same extent."""

        def of(axis: int) -> Matrix | None:
            n_in, n_out = shape[axis], wanted[axis]
            if n_in == n_out:
                return None
            return Neighbours.nearest(n_in, n_out).matrix(n_in) if axis == apart else cubic(n_in, n_out)

        return cls((of(0), of(1), of(2)), apart)

    def planes(
        self, planes: Iterable[Plane], axis: int, limits: tuple[float, float], *, descending: bool = False
    ) -> Iterator[Plane]:
        """All planes across `axis`, resampled; out in the order they come in.

        Args:
            limits: the least and the most value of the volume.
        """
        in_plane = [matrix for a, matrix in enumerate(self.matrices) if a != axis]
        resampled = ((i, self._in_plane(plane, in_plane, axis)) for i, plane in planes)
        matrix = self.matrices[axis]
        made = resampled if matrix is None else _banded(resampled, matrix, descending=descending)
        for o, plane in made:
            yield o, np.clip(plane, np.float32(limits[0]), np.float32(limits[1]))

    def _in_plane(
        self, plane: npt.NDArray[np.float32], matrices: list[Matrix | None], axis: int
    ) -> npt.NDArray[np.float32]:
        made = resample_in_plane(plane, *matrices)
        return np.clip(made, plane.min(), plane.max()) if axis == self.apart else made


def _banded(planes: Iterable[Plane], matrix: Matrix, *, descending: bool) -> Iterator[Plane]:
    """Outputs of a matrix whose rows matter in a band alone, as soon as each has its planes."""
    counted = np.abs(matrix) > _NEGLIGIBLE
    low, high = counted.argmax(axis=1), matrix.shape[1] - 1 - counted[:, ::-1].argmax(axis=1)
    held: dict[int, npt.NDArray[np.float32]] = {}
    waiting = deque(range(len(matrix))[:: -1 if descending else 1])
    for i, plane in planes:
        held[i] = plane
        while waiting and (i <= low[waiting[0]] if descending else i >= high[waiting[0]]):
            o = waiting.popleft()
            yield o, _weighted(held, matrix[o], range(int(low[o]), int(high[o]) + 1))
        if waiting:
            edge = int(high[waiting[0]] if descending else low[waiting[0]])
            held = {n: kept for n, kept in held.items() if (n <= edge if descending else n >= edge)}


def _weighted(
    held: dict[int, npt.NDArray[np.float32]], row: npt.NDArray[np.float32], band: range
) -> npt.NDArray[np.float32]:
    """The band's planes by their weights, which add up to one."""
    weights = row[band.start : band.stop] / row[band.start : band.stop].sum()
    made: npt.NDArray[np.float32] = weights[0] * held[band[0]]
    for weight, n in zip(weights[1:], band[1:], strict=True):
        if weight:
            made += weight * held[n]
    return made
