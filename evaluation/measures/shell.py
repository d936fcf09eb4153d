"""The surfaces of both masks within one tile, and how far each surfel is from the nearest of the other, if near."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evaluation.masks.pair import MaskPair
from evaluation.measures.boxes import Bounds, extent, padded
from evaluation.measures.surfels import Codes, borders, neighbour_codes
from kits_submit.types import Labels, Mask, Shape, Spacing

MAX_STEPS = 8000  # in the box around; with more (tiny voxels) a k-d tree is faster than looking


@dataclass(frozen=True)
class Steps:
    """Steps between corners, shortest first.

    - `corners`: steps x 3, along each axis. `lengths_mm`: of each.
    - `reach_mm`: no step that is this long or shorter is left out.
    """

    corners: npt.NDArray[np.int64]
    lengths_mm: npt.NDArray[np.float64]
    reach_mm: float

    def __len__(self) -> int:
        return len(self.corners)

    @property
    def halo(self) -> Shape:
        """The longest along each axis."""
        z, y, x = self.corners.max(axis=0)
        return int(z), int(y), int(x)


def steps_within(spacing_mm: Spacing, reach_mm: float) -> Steps:
    """All steps no longer than `reach_mm`; with too many (`MAX_STEPS`), only those of a shorter reach.

    Worked: 1.13 mm at spacing (3, 0.78, 0.78) gives nine: (0,0,0), the four of 0.78 mm such as (0,1,0), and the four
    diagonals such as (0,1,1), of 1.10 mm; (1,0,0) is 3 mm.
    """
    mm = np.array(spacing_mm)
    while np.prod(2.0 * np.floor(reach_mm / mm) + 1) > MAX_STEPS:
        reach_mm *= 0.9
    axes = [np.arange(-n, n + 1) for n in np.floor(reach_mm / mm).astype(int)]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.sqrt(((corners * mm) ** 2).sum(axis=1))
    nearest_first = np.argsort(lengths, kind="stable")[: np.count_nonzero(lengths <= reach_mm)]
    return Steps(corners[nearest_first], lengths[nearest_first], reach_mm)


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

    def first_steps(self, other: Shell, steps: Steps) -> npt.NDArray[np.intp]:
        """The first, so shortest, of the steps that leads each surfel to one of the other surface; `len(steps)`: none.

        No step may be longer than the halo.
        """
        strides = np.array([self._codes.shape[1] * self._codes.shape[2], self._codes.shape[2], 1])
        first = np.full(len(self.at), len(steps), np.intp)
        left = np.arange(len(self.at))
        for number, jump in enumerate(steps.corners @ strides):
            if not len(left):
                break
            hit = other.on_border[self.at[left] + jump]
            first[left[hit]] = number
            left = left[~hit]
        return first


@dataclass(frozen=True)
class TileShells:
    """The surfaces of both masks within a tile."""

    prediction: Shell
    truth: Shell


class Tile:
    """The labels of both masks over a tile's corners and a halo around them, as wide along each axis as the steps go.

    - `bounds`: of corners, as `boxes.tiles` gives them.
    """

    def __init__(self, pair: MaskPair, bounds: Bounds, halo: Shape) -> None:
        self._bounds = bounds
        self._halo = halo
        z, y, x = ((start - 1 - h, stop + h) for (start, stop), h in zip(bounds, halo, strict=True))
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
        z, y, x = ((a - h - 1, b + h + 1) for (a, b), h in zip(found, self._halo, strict=True))
        return TileShells(Shell(padded(prediction, (z, y, x)), crop), Shell(padded(truth, (z, y, x)), crop))

    def _crop(self, found: Bounds) -> Crop:
        """With voxels [a, b) of this tile's array and a margin m, code 0 is the corner after voxel a - m."""
        starts, cores = [], []
        for (a, b), (first, _), (low, high), halo in zip(found, self._around, self._bounds, self._halo, strict=True):
            start = first + a - halo
            length = b - a + 2 * halo + 1
            starts.append(start)
            cores.append(slice(min(max(low - start, 0), length), min(max(high - start, 0), length)))
        return Crop((starts[0], starts[1], starts[2]), (cores[0], cores[1], cores[2]))


def _chosen(voxels: Labels, labels: frozenset[int]) -> npt.NDArray[np.uint8]:
    chosen = np.zeros(voxels.shape, np.bool_)
    for label in labels:
        chosen |= voxels == label
    return chosen.view(np.uint8)
