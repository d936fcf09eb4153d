"""`Mirrored`: an engine's answer as the mean over an image and its mirror images, each turned back."""

from __future__ import annotations

import itertools

import numpy as np

from kits_submit.engine.crop import Cells
from kits_submit.engine.protocol import Engine
from kits_submit.types import Batch, Logits


class Mirrored:
    """An engine asked 2 ** n times, for each combination of n axes (nnU-Net's `_internal_maybe_mirror_and_predict`).

    Args:
        axes: of Z, Y, X (0, 1, 2).
    """

    def __init__(self, engine: Engine, axes: tuple[int, ...]) -> None:
        self._engine = engine
        self._flips = [
            tuple(2 + axis for axis in some) for n in range(len(axes) + 1) for some in itertools.combinations(axes, n)
        ]
        self.name, self.device, self.batch_voxels = engine.name, engine.device, engine.batch_voxels

    def run(self, batch: Batch, _: Cells | None = None, /) -> Logits:
        """Logits of whole patches; see `Engine.run`."""
        total = np.array(self._engine.run(batch), np.float32)
        for axes in self._flips[1:]:
            total += np.flip(self._engine.run(np.ascontiguousarray(np.flip(batch, axes))), axes)
        total /= np.float32(len(self._flips))
        return total
