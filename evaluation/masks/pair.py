"""Two label maps on one grid: what every measure is taken of. Knows no files.

Axes here are those of memory, slowest first: areas and distances do not depend on the axes' order or direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kits_submit.labels import volume_ml
from kits_submit.types import Labels, Shape, Spacing


@dataclass(frozen=True)
class MaskPair:
    """A prediction and a truth on one grid, in memory order.

    - `spacing_mm`: of the truth, in the same order of axes.
    - `axes`, `flipped`: which of Z, Y, X each axis of memory is, and whether it runs backwards.
    """

    prediction: Labels
    truth: Labels
    spacing_mm: Spacing
    axes: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    @staticmethod
    def of(prediction: Labels | None, truth: Labels, spacing_mm: Spacing) -> MaskPair:
        """From Z, Y, X label maps of one shape; no prediction is one without foreground."""
        if prediction is None:
            prediction = np.broadcast_to(np.uint8(0), truth.shape)
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction of shape {prediction.shape}, truth of {truth.shape}")
        a, b, c = sorted(range(3), key=lambda axis: -abs(truth.strides[axis]))
        flipped = truth.strides[a] < 0, truth.strides[b] < 0, truth.strides[c] < 0
        flips = tuple(slice(None, None, -1 if back else 1) for back in flipped)
        ours, theirs = (mask.transpose(a, b, c)[flips] for mask in (prediction, truth))
        return MaskPair(ours, theirs, (spacing_mm[a], spacing_mm[b], spacing_mm[c]), (a, b, c), flipped)

    @property
    def shape(self) -> Shape:
        """Voxels along each axis, in memory order."""
        z, y, x = self.truth.shape
        return z, y, x

    def index_zyx(self, index: Sequence[float]) -> tuple[float, float, float]:
        """An index in memory order as one along Z, Y, X."""
        found = [0.0, 0.0, 0.0]
        for place, axis, back, n in zip(index, self.axes, self.flipped, self.shape, strict=True):
            found[axis] = n - 1 - place if back else place
        return found[0], found[1], found[2]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return volume_ml(1, self.spacing_mm)

    @property
    def diagonal_mm(self) -> float:
        """The longest distance within the image."""
        return float(np.linalg.norm(np.multiply(self.shape, self.spacing_mm)))
