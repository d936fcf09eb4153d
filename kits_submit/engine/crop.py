"""What part of a patch a model decodes, where its graph can be asked for less than the whole.

Two thirds of the paper's arithmetic is the decoder's, and it looks no further than a few voxels around: of a patch
whose outer voxels are discarded (section 2.4), only what is kept, and what each convolution needs around it, need pass
through it. A graph that can be asked has further inputs (int64):

- `START` and `STOP` (Z, Y, X): the cells of the decoder's grid that enter its convolutions.
- `PADS` 0, 1, ... (the ten numbers of ONNX's Pad), one for each 3x3x3 convolution, the last of the decoder's first: the
  zeros around its input, a cell where the patch itself ends, none elsewhere. Each convolution thus computes what the
  ones behind it need, and no more.

It answers with the logits of the cells asked for alone. Those of the kept voxels are the whole patch's, but for
rounding.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kits_submit.errors import ModelError
from kits_submit.types import Batch, Logits, Shape

METADATA_KEY = "kits_submit.crop"
START, STOP, PADS = "crop_start", "crop_stop", "crop_pads_"


@dataclass(frozen=True)
class Cells:
    """The part [start, stop) of the decoder's grid, which has `size` cells for the patch, along Z, Y, X."""

    start: Shape
    stop: Shape
    size: Shape

    @classmethod
    def whole(cls, batch: Batch) -> Self:
        """All of it: a patch has no more cells than voxels, and what lies beyond its end is not missed."""
        z, y, x = batch.shape[2:]
        return cls((0, 0, 0), (z, y, x), (z, y, x))

    def inputs(self, names: Collection[str]) -> dict[str, npt.NDArray[np.int64]]:
        """Those of a graph's inputs that say what to decode, by name, as the graph takes them."""
        if START not in names:
            return {}
        pads = sorted(name for name in names if name.startswith(PADS))
        start, stop = self._around(len(pads))
        edges = {name: self._edges(*self._around(reach)) for reach, name in enumerate(pads)}
        return {START: np.array(start, np.int64), STOP: np.array(stop, np.int64), **edges}

    def _around(self, reach: int) -> tuple[list[int], list[int]]:
        """These cells and as many around them, no more than there are."""
        return [max(0, a - reach) for a in self.start], [
            min(n, b + reach) for b, n in zip(self.stop, self.size, strict=True)
        ]

    def _edges(self, start: list[int], stop: list[int]) -> npt.NDArray[np.int64]:
        """As Pad takes them: one cell on each side where [start, stop) is the grid's end, none elsewhere."""
        before, after = [int(a == 0) for a in start], [int(b == n) for b, n in zip(stop, self.size, strict=True)]
        return np.array([0, 0, *before, 0, 0, *after], np.int64)


@dataclass(frozen=True)
class Crop:
    """- `stride`: voxels of the patch that a cell is long. `halo`: cells around what is wanted to ask for as well."""

    stride: int
    halo: int

    def cells(self, start: Shape, stop: Shape, size: Shape) -> Cells:
        """What to ask for, so that the voxels [start, stop) of a patch of `size` come out as the whole patch's."""
        grid = [n // self.stride for n in size]
        first = [max(0, a // self.stride - self.halo) for a in start]
        last = [min(n, -(-b // self.stride) + self.halo) for b, n in zip(stop, grid, strict=True)]
        return Cells(_shape(first), _shape(last), _shape(grid))

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
