"""The surfaces of both masks within one tile, and which of their surfels have the other surface within a few steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from evaluation.boxes import Bounds, MaskPair, extent, padded
from evaluation.surfels import Codes, borders, neighbour_codes
from kits_submit.types import Labels, Mask, Spacing

Steps = npt.NDArray[np.int64]  # steps x 3: corners along each axis, shortest first

MAX_STEPS = 2000  # with more (voxels far smaller than the tolerance) a k-d tree is faster than looking


def steps_within(spacing_mm: Spacing, reach_mm: float) -> Steps | None:
    """The steps between corners no longer than `reach_mm`, shortest first; None if they are more than `MAX_STEPS`.

    Worked: 1.13 mm at spacing (3, 0.78, 0.78) gives nine: (0,0,0), the four of 0.78 mm such as (0,1,0), and the four
    diagonals such as (0,1,1), of 1.10 mm; (1,0,0) is 3 mm.
    """
    most = [int(reach_mm / mm) for mm in spacing_mm]
    if np.prod([2.0 * n + 1 for n in most]) > 4 * MAX_STEPS:
        return None
    steps = np.array(list(product(*(range(-n, n + 1) for n in most))), np.int64)
    lengths = np.sqrt(((steps * np.array(spacing_mm)) ** 2).sum(axis=1))
    near = steps[np.argsort(lengths, kind="stable")][: np.count_nonzero(lengths <= reach_mm)]
    return near if len(near) <= MAX_STEPS else None


@dataclass(frozen=True)
class Crop:
    """Where an array of codes lies: `start` is the corner at its origin, `core` the part that this tile counts."""

    start: tuple[int, int, int]
    core: tuple[slice, slice, slice]


class Shell:
    """The surface of one mask within a tile."""

    def __init__(self, mask: npt.NDArray[np.uint8], crop: Crop) -> None:
        self._codes = neighbour_codes(mask)
        self._crop = crop
        self.on_border: Mask = borders(self._codes).reshape(-1)

    @cached_property
    def at(self) -> npt.NDArray[np.intp]:
        """Flat indices of the surfels that the tile counts."""
        on_border = self.on_border.reshape(self._codes.shape)
        counted = np.zeros_like(on_border)
        counted[self._crop.core] = on_border[self._crop.core]
        return np.flatnonzero(counted)

    @cached_property
    def codes(self) -> Codes:
        """Their neighbour codes."""
        codes: Codes = self._codes.reshape(-1)[self.at]
        return codes

    @property
    def corners(self) -> npt.NDArray[np.int32]:
        """Their corners: surfels x 3, indices in the whole volume."""
        indices = np.stack(np.unravel_index(self.at, self._codes.shape), axis=1)
        corners: npt.NDArray[np.int32] = (indices + np.array(self._crop.start)).astype(np.int32)
        return corners

    def near(self, other: Shell, steps: Steps) -> Mask:
        """Which of the surfels have one of the other surface at one of the steps, none longer than the halo."""
        strides = np.array([self._codes.shape[1] * self._codes.shape[2], self._codes.shape[2], 1])
        near = np.zeros(len(self.at), np.bool_)
        left = np.arange(len(self.at))
        for jump in steps @ strides:
            hit = other.on_border[self.at[left] + jump]
            near[left[hit]] = True
            left = left[~hit]
        return near


@dataclass(frozen=True)
class TileShells:
    """The surfaces of both masks within a tile."""

    prediction: Shell
    truth: Shell


class Tile:
    """The labels of both masks over a tile's corners and a halo around them, as wide as the longest step.

    - `bounds`: of corners, as `boxes.tiles` gives them.
    """

    def __init__(self, pair: MaskPair, bounds: Bounds, halo: int) -> None:
        self._bounds = bounds
        self._halo = halo
        z, y, x = ((start - 1 - halo, stop + halo) for start, stop in bounds)
        self._around: Bounds = (z, y, x)
        self._prediction = padded(pair.prediction, self._around)
        self._truth = padded(pair.truth, self._around)
        self._shells: dict[frozenset[int], TileShells | None] = {}

    def shells(self, labels: frozenset[int]) -> TileShells | None:
        """The surfaces of the voxels with one of these labels; None where there are none. Made once a set of voxels."""
        present = labels & self._values
        if present not in self._shells:
            self._shells[present] = self._make(present)
        return self._shells[present]

    @cached_property
    def _values(self) -> frozenset[int]:
        highest = int(max(self._prediction.max(), self._truth.max()))
        return frozenset(
            value
            for value in range(1, highest + 1)
            if (self._prediction == value).any() or (self._truth == value).any()
        )

    def _make(self, labels: frozenset[int]) -> TileShells | None:
        prediction, truth = _chosen(self._prediction, labels), _chosen(self._truth, labels)
        found = extent(prediction | truth)
        if found is None:
            return None
        crop = self._crop(found)
        margin = self._halo + 1
        return TileShells(
            Shell(_embedded(prediction, found, margin), crop), Shell(_embedded(truth, found, margin), crop)
        )

    def _crop(self, found: Bounds) -> Crop:
        """With voxels [a, b) of this tile's array and a margin m, code 0 is the corner after voxel a - m."""
        starts, cores = [], []
        for (a, b), (first, _), (low, high) in zip(found, self._around, self._bounds, strict=True):
            start = first + a - self._halo
            length = b - a + 2 * self._halo + 1
            starts.append(start)
            cores.append(slice(min(max(low - start, 0), length), min(max(high - start, 0), length)))
        return Crop((starts[0], starts[1], starts[2]), (cores[0], cores[1], cores[2]))


def _chosen(voxels: Labels, labels: frozenset[int]) -> npt.NDArray[np.uint8]:
    chosen = np.zeros(voxels.shape, np.bool_)
    for label in labels:
        chosen |= voxels == label
    return chosen.view(np.uint8)


def _embedded(mask: npt.NDArray[np.uint8], found: Bounds, margin: int) -> npt.NDArray[np.uint8]:
    z, y, x = ((start - margin, stop + margin) for start, stop in found)
    return padded(mask, (z, y, x))
