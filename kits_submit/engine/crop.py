"""What part of a patch a model decodes, where its graph can be asked for less than the whole.

Two thirds of the paper's arithmetic is the decoder's, and it looks no further than a few voxels around: of a patch
whose outer voxels are discarded (section 2.4), only what is kept, and a halo around it, need pass through it. A graph
that can be asked has two more inputs, `START` and `STOP` (int64, Z, Y, X), in cells of its decoder's grid, and answers
with the logits of [START, STOP) alone. Those of the kept voxels are the whole patch's, but for rounding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kits_submit.errors import ModelError
from kits_submit.types import Batch, Logits, Shape

METADATA_KEY = "kits_submit.crop"
START, STOP = "crop_start", "crop_stop"


@dataclass(frozen=True)
class Cells:
    """The part [start, stop) of the decoder's grid, along Z, Y, X."""

    start: Shape
    stop: Shape

    @classmethod
    def whole(cls, batch: Batch) -> Self:
        """All of it: a patch has no more cells than voxels, and what lies beyond its end is not missed."""
        z, y, x = batch.shape[2:]
        return cls((0, 0, 0), (z, y, x))

    def inputs(self) -> dict[str, npt.NDArray[np.int64]]:
        """By name, as the graph takes them."""
        return {START: np.array(self.start, np.int64), STOP: np.array(self.stop, np.int64)}


@dataclass(frozen=True)
class Crop:
    """- `stride`: voxels of the patch that a cell is long. `halo`: cells around what is wanted that it depends on."""

    stride: int
    halo: int

    def cells(self, start: Shape, stop: Shape, size: Shape) -> Cells:
        """What to ask for, so that the voxels [start, stop) of a patch of `size` come out as the whole patch's."""
        first = [max(0, a // self.stride - self.halo) for a in start]
        last = [min(n // self.stride, -(-b // self.stride) + self.halo) for b, n in zip(stop, size, strict=True)]
        return Cells(_shape(first), _shape(last))

    def voxels(self, cells: Cells) -> tuple[Shape, Shape]:
        """Where the answer begins in the patch, and its size."""
        sizes = [(b - a) * self.stride for a, b in zip(cells.start, cells.stop, strict=True)]
        return _shape([a * self.stride for a in cells.start]), _shape(sizes)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self | None:
        """A model's own; None where its graph answers with whole patches alone.

        Raises:
            ModelError: the entry is not one of ours.
        """
        text = metadata.get(METADATA_KEY)
        if text is None:
            return None
        try:
            raw = json.loads(text)
            stride, halo = raw["stride"], raw["halo"]
        except (ValueError, TypeError, KeyError):
            stride = halo = None
        if not (isinstance(stride, int) and isinstance(halo, int) and stride > 0 and halo >= 0):
            raise ModelError(f"the model's {METADATA_KEY} is {text!r}", fix="export the model again")
        return cls(stride, halo)


def part_of(logits: Logits, start: Sequence[int], stop: Sequence[int], origin: Sequence[int] = (0, 0, 0)) -> Logits:
    """The voxels [start, stop) of a patch along the last three axes, of logits that begin at `origin` in it."""
    z, y, x = (slice(a - o, b - o) for a, b, o in zip(start, stop, origin, strict=True))
    return logits[..., z, y, x]


def _shape(numbers: Sequence[int]) -> Shape:
    z, y, x = numbers
    return z, y, x
