"""Volumes whose axes lie far from the patient's: onto a grid along the patient's, and the answer back.

A network has seen patients upright alone. What it is given is trilinear between the source's voxels, at the Recipe's
spacing, in a box around the source; air outside of it. Its probabilities are trilinear again at the source's voxel
centres. Any affine will do, a sheared one (gantry tilt) too.

The source passes plane by plane, and two planes are held; the upright grid, whose planes each cross many of the
source's, stands whole, as do the scores on it: 4 bytes a voxel, and 4 a class.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kits_submit.files.oddities import OBLIQUE_DEGREES, oblique_degrees
from kits_submit.files.volume import Grid
from kits_submit.inference.decision import Decision
from kits_submit.inference.restore import Box, Slab, box_of
from kits_submit.practice import Practice
from kits_submit.recipe import Recipe
from kits_submit.types import Affine, Image, Labels, Probabilities, Shape, Spacing

Plane = npt.NDArray[np.float32]
_IPL_TO_RAS = -np.eye(3)[::-1]  # the directions of `recipe.ORIENTATION`, a column each
_ROUNDING = 1e-6  # of a voxel


@dataclass(frozen=True)
class Upright:
    """A grid along the patient's axes around a source.

    - `shape`: Z, Y, X. `to_source`: 4x4, from its voxel indices Z, Y, X to the source's.
    """

    shape: Shape
    to_source: Affine

    @classmethod
    def of(cls, grid: Grid, spacing_mm: Spacing) -> Self | None:
        """Around an oblique grid; None for one that is not: its own axes are taken for the patient's."""
        return cls.around(grid, spacing_mm) if oblique_degrees(grid.affine) > OBLIQUE_DEGREES else None

    @classmethod
    def around(cls, grid: Grid, spacing_mm: Spacing) -> Self:
        """Around any grid, edge to edge, at exactly `spacing_mm`."""
        edges = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in grid.shape))))
        to_mm = grid.canonical_affine
        corners_mm = (edges @ to_mm[:3, :3].T + to_mm[:3, 3]) @ _IPL_TO_RAS
        low, high = corners_mm.min(axis=0), corners_mm.max(axis=0)
        count = np.maximum(1, np.ceil((high - low) / spacing_mm - _ROUNDING)).astype(int)
        upright = np.eye(4)
        upright[:3, :3] = _IPL_TO_RAS * spacing_mm
        upright[:3, 3] = _IPL_TO_RAS @ ((low + high) / 2 - (count - 1) / 2 * spacing_mm)
        z, y, x = (int(n) for n in count)
        return cls((z, y, x), np.linalg.inv(to_mm) @ upright)


def upright_of(grid: Grid, recipe: Recipe) -> Upright | None:
    """The upright grid of an oblique volume; None of another, and for a network with a practice of its own."""
    return Upright.of(grid, recipe.spacing_mm) if recipe.practice == Practice() else None


def upright_planes(
    planes: Iterable[tuple[int, Plane]], source_shape: Shape, axis: int, upright: Upright, outside: float
) -> Iterator[tuple[int, Plane]]:
    """The upright volume's planes across Z, ascending, once all of the source's have come.

    Args:
        planes: (index, float32 plane of the two other axes in their order) across `axis` of the source, ascending or
            descending.
        source_shape: Z, Y, X of the source.
        outside: the value beyond the source.
    """
    image = np.full(upright.shape, np.float32(outside))
    cuts = _Cuts(upright, axis)
    last = source_shape[axis] - 1
    before: tuple[int, Plane] | None = None
    for i, plane in planes:
        if last == 0:
            _fill(image, cuts, plane[None], 0, (-0.5, 0.5))
        elif before is not None:
            low, pair = min(i, before[0]), sorted((before, (i, plane)), key=lambda one: one[0])
            between = (low - 0.5 if low == 0 else low, low + (1.5 if low + 1 == last else 1))
            _fill(image, cuts, np.stack([one[1] for one in pair]), low, between)
        before = i, plane
    yield from enumerate(image)


class _Cuts:
    """Which upright voxels lie between two planes of the source: along one upright axis, a run of each column."""

    def __init__(self, upright: Upright, axis: int) -> None:
        self._upright, self._axis = upright, axis
        slope = upright.to_source[axis, :3]
        self._along = int(np.abs(slope).argmax())
        self._others = [a for a in range(3) if a != self._along]
        rows, columns = (np.arange(upright.shape[a]) * slope[a] for a in self._others)
        self._rest = rows[:, None] + columns + upright.to_source[axis, 3]

    def between(self, low: float, high: float) -> tuple[tuple[npt.NDArray[np.intp], ...], npt.NDArray[np.float64]]:
        """Indices Z, Y, X of the voxels from `low` up to `high` on the source's axis, and their places (axis and the
        source's two other axes in their order) there."""
        first, stop = sorted((self._cut(low), self._cut(high)), key=lambda cut: int(cut.sum()))
        counts = (stop - first).ravel()
        column = np.repeat(np.arange(counts.size), counts)
        index: list[npt.NDArray[np.intp]] = [column] * 3
        index[self._others[0]], index[self._others[1]] = np.divmod(column, first.shape[1])
        index[self._along] = np.arange(column.size) - np.repeat(counts.cumsum() - counts - first.ravel(), counts)
        order = [self._axis, *(a for a in range(3) if a != self._axis)]
        matrix = self._upright.to_source[order]
        places = matrix[:, :3] @ np.array(index, np.float64) + matrix[:, 3:]
        return tuple(index), places

    def _cut(self, value: float) -> npt.NDArray[np.intp]:
        """The first index of each column from which on the source's axis is past `value`."""
        slope = self._upright.to_source[self._axis, self._along]
        cut = np.clip(np.ceil((value - self._rest) / slope), 0, self._upright.shape[self._along])
        index: npt.NDArray[np.intp] = cut.astype(np.intp)
        return index


def _fill(image: Image, cuts: _Cuts, planes: npt.NDArray[np.float32], first: int, between: tuple[float, float]) -> None:
    index, places = cuts.between(*between)
    _, rows, columns = planes.shape
    inside = (np.abs(places[1] - (rows - 1) / 2) <= rows / 2) & (np.abs(places[2] - (columns - 1) / 2) <= columns / 2)
    places = places[:, inside]
    places[0] -= first
    image[tuple(part[inside] for part in index)] = _trilinear(planes, places)


class ObliqueRestorer:
    """Fills `labels` from an upright grid's slabs, once the last has come; as `kits_submit.inference.restore.Restorer`.

    Args:
        labels: ZYX on the source grid, all background.
        axis: across which the source's planes lie apart in memory.
    """

    def __init__(self, labels: Labels, upright: Upright, axis: int, decision: Decision) -> None:
        self._labels, self._upright, self._axis, self._decision = labels, upright, axis, decision
        self._scores: Probabilities | None = None
        self.touched: Box | None = None

    def add(self, slab: Slab) -> None:
        """Keep it; with the last one write every source voxel."""
        if self._scores is None:
            self._scores = np.empty((len(slab.scores), *self._upright.shape), np.float32)
        self._scores[:, slab.start : slab.stop] = slab.scores
        if slab.stop == self._upright.shape[0]:
            self._restore(self._scores)
            self._scores = None

    def _restore(self, scores: Probabilities) -> None:
        box = box_of(self._decision.foreground(scores))
        if box is None:
            return
        held = tuple(slice(max(0, a - 1), min(n, b + 1)) for (a, b), n in zip(box, self._upright.shape, strict=True))
        values = self._decision.probabilities(scores[(slice(None), *held)])
        self.touched = self._reached(box)
        to_upright = np.linalg.inv(self._upright.to_source)
        low, high = np.array(box, np.float64).T
        start = np.array([part.start for part in held])[:, None]
        planes = np.moveaxis(self._labels, self._axis, 0)
        along, rows, columns = (
            np.arange(part.start, part.stop)
            for part in (self.touched[self._axis], *(p for a, p in enumerate(self.touched) if a != self._axis))
        )
        others = [a for a in range(3) if a != self._axis]
        in_plane = (
            to_upright[:3, others[0], None, None] * rows[:, None]
            + to_upright[:3, others[1], None, None] * columns
            + to_upright[:3, 3, None, None]
        )
        for i in along:
            places = in_plane + to_upright[:3, self._axis, None, None] * i
            near = ((places > low[:, None, None] - 1) & (places < high[:, None, None])).all(axis=0)
            if near.any():
                found = np.stack([_trilinear(value, places[:, near] - start) for value in values])
                part = planes[i, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                part[near] = self._decision.labels(found)

    def _reached(self, box: list[tuple[int, int]]) -> Box:
        """Of the source, the voxels that lie around a box of the upright grid, and one more."""
        corners = np.array(list(itertools.product(*((start - 1, stop) for start, stop in box))))
        places = corners @ self._upright.to_source[:3, :3].T + self._upright.to_source[:3, 3]
        z, y, x = (
            slice(int(np.clip(np.floor(low) - 1, 0, n - 1)), int(np.clip(np.ceil(high) + 2, 1, n)))
            for low, high, n in zip(places.min(axis=0), places.max(axis=0), self._labels.shape, strict=True)
        )
        return z, y, x


def _trilinear(volume: npt.NDArray[np.float32], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Between voxel centres, the outermost beyond them."""
    values: npt.NDArray[np.float32] = ndimage.map_coordinates(
        volume, places, np.float32, order=1, mode="nearest", prefilter=False
    )
    return values
