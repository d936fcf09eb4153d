"""Bring the network's answer back to the source grid, slab by slab: interpolate probabilities, then decide.

Only the padded box of a slab's voxels that are not background is interpolated. Outside it the result is background
without computing: linear interpolation is a convex combination of its corners, and where background leads in each
corner (or no region reaches its threshold) it does in any such combination.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kits_submit.inference.decision import Decision, Likeliest, OfProbabilities, Scores
from kits_submit.inference.grid import Neighbours, resample_along
from kits_submit.types import Labels, Mask, Probabilities, Shape

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Slab:
    """Whole planes of an answer, along one axis of the volume.

    - `axis`: 0, 1 or 2 for Z, Y or X.
    - `start`, `stop`: its planes, [start, stop) on the Recipe's grid.
    - `scores`: of classes or regions, (K, stop - start, and the other two axes in their order).
    """

    axis: int
    start: int
    stop: int
    scores: Scores


class Restorer:
    """Fills `labels` from slabs, which follow each other and together cover the grid.

    Args:
        labels: ZYX on the source grid, all background; may be a view of another memory order.
        shape: of the Recipe's grid, Z, Y, X.
        descending: the order in which slabs come.
        decision: what the scores say.
        apart: the axis that takes the nearest plane; the others are interpolated.
    """

    def __init__(
        self,
        labels: Labels,
        shape: Shape,
        *,
        descending: bool = False,
        decision: Decision | None = None,
        apart: int | None = None,
    ) -> None:
        self._labels, self._shape = labels, shape
        self._neighbours = [
            Neighbours.nearest(*sizes) if axis == apart else Neighbours.between(*sizes)
            for axis, sizes in enumerate(zip(shape, labels.shape, strict=True))
        ]
        self._descending, self._decision = descending, decision or Likeliest()
        self._written: list[tuple[int, int]] | None = None
        self._edge: Slab | None = None  # the plane of the last slab that the next one's interpolation needs

    @property
    def touched(self) -> Box | None:
        """Z, Y, X of all that may not be background, and a voxel around it; None where all is."""
        if self._written is None:
            return None
        z, y, x = (
            slice(max(0, start - 1), min(n, stop + 1))
            for (start, stop), n in zip(self._written, self._labels.shape, strict=True)
        )
        return z, y, x

    def add(self, slab: Slab) -> None:
        """Write every source plane that this slab completes."""
        held = slab if self._edge is None else _joined(self._edge, slab)
        last = slice(0, 1) if self._descending else slice(slab.stop - slab.start - 1, slab.stop - slab.start)
        self._edge = Slab(slab.axis, slab.start + last.start, slab.start + last.stop, slab.scores[:, last].copy())
        self._restore(held)

    def _restore(self, held: Slab) -> None:
        box = box_of(self._decision.foreground(held.scores))
        if box is None:
            return
        others = [a for a in range(3) if a != held.axis]
        labels = np.moveaxis(self._labels, held.axis, 0)
        along = self._neighbours[held.axis]
        first, last = held.start + box[0][0], held.start + box[0][1] - 1
        wanted = np.flatnonzero(
            (along.low >= held.start) & (along.high < held.stop) & (along.high >= first) & (along.low <= last)
        )
        if wanted.size == 0:
            return
        rows, columns = (
            _Extent(self._neighbours[a], self._shape[a], span) for a, span in zip(others, box[1:], strict=True)
        )
        low = int(along.low[wanted[0]])
        planes = slice(low - held.start, int(along.high[wanted[-1]]) + 1 - held.start)
        values = self._decision.probabilities(held.scores[:, planes, rows.source, columns.source])
        inputs = ((low + n, np.ascontiguousarray(values[:, n])) for n in range(values.shape[1]))
        weights = (rows.weights, columns.weights)
        for i, plane in resample_along(inputs, along, wanted, weights, early=labels.shape[0] > self._shape[held.axis]):
            labels[i, rows.out, columns.out] = self._decision.labels(plane)
        across = [(part.start, part.stop) for part in (rows.out, columns.out)]
        self._write(held.axis, (int(wanted[0]), int(wanted[-1]) + 1), across)

    def _write(self, axis: int, along: tuple[int, int], across: list[tuple[int, int]]) -> None:
        box = [*across[:axis], along, *across[axis:]]
        before = self._written or box
        self._written = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(box, before, strict=True)]


def restore_labels(probabilities: Probabilities, shape: Shape, decision: Decision | None = None) -> Labels:
    """The label of each voxel of the source grid, from KZYX probabilities on the Recipe's grid."""
    labels = np.zeros(shape, np.uint8)
    z, y, x = probabilities.shape[1:]
    decided = OfProbabilities(decision or Likeliest())
    Restorer(labels, (z, y, x), decision=decided).add(Slab(0, 0, z, probabilities))
    return labels


class _Extent:
    """One axis of a box: which output indices depend on it, and from which source indices they take their values.

    - `out`: output indices that may touch the box; `source`: the source indices that these need.
    - `weights`: out x source, None where it is the identity.
    """

    def __init__(self, axis: Neighbours, n_in: int, span: tuple[int, int]) -> None:
        touched = np.flatnonzero((axis.high >= span[0]) & (axis.low < span[1]))
        if touched.size == 0:  # a shrinking axis may step over the box
            touched = np.array([0])
        self.out = slice(int(touched[0]), int(touched[-1]) + 1)
        self.source = slice(int(axis.low[self.out].min()), int(axis.high[self.out].max()) + 1)
        same = n_in == len(axis.low)
        self.weights = None if same else np.ascontiguousarray(axis.matrix(n_in)[self.out, self.source])


def _joined(edge: Slab, slab: Slab) -> Slab:
    """A slab with the plane beside it that came before."""
    first, second = sorted((edge, slab), key=lambda part: part.start)
    return Slab(slab.axis, first.start, second.stop, np.concatenate([first.scores, second.scores], axis=1))


def box_of(mask: Mask) -> list[tuple[int, int]] | None:
    """[start, stop) along each axis of what is set; None where nothing is."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        box.append((int(hit[0]), int(hit[-1]) + 1))
    return box
