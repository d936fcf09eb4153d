"""A mask as runs of voxels along its fastest axis, and its connected components: memory by its size, not its extent.

Components of a dense array need several times the array, however few its voxels; a noisy prediction spans the volume.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.measures.boxes import Bounds
from kits_submit.types import Labels, Shape

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Runs in the order of memory: row `z * Y + y`, and their first and last voxel along x."""

    shape: Shape
    row: Integers
    first: Integers
    last: Integers

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> Runs:
        return Runs(self.shape, self.row[chosen], self.first[chosen], self.last[chosen])

    @property
    def lengths(self) -> Integers:
        """Voxels of each run."""
        return self.last - self.first + 1

    @property
    def middles(self) -> npt.NDArray[np.float64]:
        """Mean index Z, Y, X of each run: runs x 3."""
        z, y = np.divmod(self.row, self.shape[1])
        return np.stack((z, y, (self.first + self.last) / 2), axis=1)

    @property
    def ends(self) -> Integers:
        """Indices Z, Y, X of each run's first and last voxel: 2 runs x 3."""
        row, x = np.tile(self.row, 2), np.concatenate((self.first, self.last))
        return np.stack((row // self.shape[1], row % self.shape[1], x), axis=1)


def runs_of(mask: Labels, tiles: Iterable[Bounds], label: int) -> Runs:
    """The runs of one label. The tiles are `boxes.tiles`: none parts a run."""
    _, height, _ = mask.shape
    found: list[Integers] = []
    for (z0, z1), (y0, y1), (x0, x1) in tiles:
        part = mask[z0:z1, y0:y1, x0:x1] == label
        rows = part.reshape(-1, part.shape[2])
        edged = np.zeros((rows.shape[0], rows.shape[1] + 2), np.bool_)
        edged[:, 1:-1] = rows
        row, x = np.divmod(np.flatnonzero(edged[:, 1:] != edged[:, :-1]), rows.shape[1] + 1)
        z, y = np.divmod(row[::2], part.shape[1])
        found.append(np.stack(((z0 + z) * height + y0 + y, x0 + x[::2], x0 + x[1::2] - 1)))
    row, first, last = np.concatenate(found, axis=1) if found else np.zeros((3, 0), np.int64)
    order = np.lexsort((first, row))
    depth, height, width = mask.shape
    return Runs((depth, height, width), row[order], first[order], last[order])


def components(runs: Runs) -> Integers:
    """Each run's component, numbered from 0, 26-connected.

    Two runs touch if their rows are neighbours and one begins no later than a voxel after the other ends.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    height = runs.shape[1]
    pairs = []
    for slices, rows in ((0, 1), (1, -1), (1, 0), (1, 1)):
        y = runs.row % height + rows
        beside = (y >= 0) & (y < height)
        here, there = meeting(runs, runs, rows=slices * height + rows, reach=1)
        pairs.append(np.stack((here, there))[:, beside[here]])
    here, there = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(here), np.bool_), (here, there)), shape=(len(runs), len(runs)))
    numbers: Integers = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def meeting(runs: Runs, others: Runs, *, rows: int = 0, reach: int = 0) -> tuple[Integers, Integers]:
    """Pairs of (run, other run) where the other lies `rows` rows on and within `reach` voxels along x."""
    stride = runs.shape[2] + 2  # a row's keys, from -1 to X, stay apart from the next row's
    base = (runs.row + rows) * stride + 1
    begin = np.searchsorted(others.row * stride + 1 + others.last, base + runs.first - reach, "left")
    end = np.searchsorted(others.row * stride + 1 + others.first, base + runs.last + reach, "right")
    counts = np.maximum(end - begin, 0)
    here = np.repeat(np.arange(len(runs)), counts)
    start_of_each = np.repeat(np.cumsum(counts) - counts, counts)
    return here, begin[here] + np.arange(len(here)) - start_of_each
