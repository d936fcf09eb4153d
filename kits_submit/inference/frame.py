"""`Frame`: a network's Z, Y, X as axes of the volume at hand, which arrives in KiTS's own orientation.

Our own networks see every volume in that orientation. One whose Recipe names axes of the file (`Practice.axes`) sees
the file's axes as they are stored, whatever they mean in the patient: axis a of 0, 1, 2 is the file's slowest, middle,
fastest (the order in which nnU-Net's readers give an array).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from kits_submit.files.volume import Grid
from kits_submit.recipe import Recipe
from kits_submit.types import Array, Shape, Spacing

Plane = tuple[int, npt.NDArray[np.float32]]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Frame:
    """- `order`: of each of the network's axes, the volume's. `flips`: whether it runs against that."""

    order: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @classmethod
    def of(cls, grid: Grid, recipe: Recipe) -> Self:
        """Of one volume."""
        axes = recipe.practice.axes
        if axes is None:
            return cls()
        if recipe.practice.reoriented:
            return cls(axes, (True, True, True))  # S, A, R against I, P, L
        stored = grid.stored_axes
        (z, flip_z), (y, flip_y), (x, flip_x) = (stored[2 - axis] for axis in axes)
        return cls((z, y, x), (flip_z, flip_y, flip_x))

    def turned(self, numbers: tuple[Number, Number, Number]) -> tuple[Number, Number, Number]:
        """Numbers along the volume's axes, along the network's."""
        z, y, x = self.order
        return numbers[z], numbers[y], numbers[x]

    def back(self, numbers: tuple[Number, Number, Number]) -> tuple[Number, Number, Number]:
        """Numbers along the network's axes, along the volume's."""
        z, y, x = (numbers[self.order.index(axis)] for axis in range(3))
        return z, y, x

    def view(self, volume: Array) -> Array:
        """A view of a ZYX array along the network's axes."""
        return volume.transpose(self.order)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def arrival(self, axis: int, *, descending: bool) -> tuple[int, bool]:
        """The network's axis that planes across the volume's `axis` lie across, and whether they come descending."""
        turned = self.order.index(axis)
        return turned, descending != self.flips[turned]

    def planes(self, planes: Iterator[Plane], axis: int, count: int) -> Iterator[Plane]:
        """The volume's planes across `axis`, `count` of them, as the network has them."""
        turned, _ = self.arrival(axis, descending=False)
        first, second = (a for a in range(3) if a != turned)
        swapped = self.order[first] > self.order[second]
        step = tuple(slice(None, None, -1 if self.flips[a] else 1) for a in (first, second))
        for i, plane in planes:
            yield count - 1 - i if self.flips[turned] else i, (plane.T if swapped else plane)[step]

    def spacing(self, grid: Grid) -> Spacing:
        """A volume's voxel edges along the network's axes, mm."""
        return self.turned(grid.spacing_mm)

    def shape(self, grid: Grid) -> Shape:
        """A volume's voxels along the network's axes."""
        return self.turned(grid.shape)
