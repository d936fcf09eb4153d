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
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from kits_submit.errors import ModelError
from kits_submit.types import Batch, Logits, Shape

if TYPE_CHECKING:
    from kits_submit.engine.protocol import Engine

METADATA_KEY = "kits_submit.crop"
START, STOP = "crop_start", "crop_stop"

_TO_THE_END = np.iinfo(np.int32).max  # OpenVINO takes the largest int64 for -1


@dataclass(frozen=True)
class Cells:
    """The part [start, stop) of the decoder's grid, along Z, Y, X; `WHOLE` is all of it, whatever the patch."""

    start: Shape
    stop: Shape

    def inputs(self) -> dict[str, npt.NDArray[np.int64]]:
        """By name, as the graph takes them."""
        return {START: np.array(self.start, np.int64), STOP: np.array(self.stop, np.int64)}


WHOLE = Cells((0, 0, 0), (_TO_THE_END,) * 3)


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
            crop = cls(raw["stride"], raw["halo"])
        except (ValueError, TypeError, KeyError):
            raise ModelError(f"the model's {METADATA_KEY} is {text!r}", fix="export the model again") from None
        if not all(isinstance(n, int) for n in (crop.stride, crop.halo)) or crop.stride < 1 or crop.halo < 0:
            raise ModelError(f"the model's {METADATA_KEY} is {text!r}", fix="export the model again")
        return crop


def answer_of(engine: Engine, batch: Batch, crop: Crop, start: Shape, stop: Shape) -> Logits:
    """The voxels [start, stop) of each patch of `batch`, NKZYX, asked for alone."""
    z, y, x = batch.shape[2:]
    cells = crop.cells(start, stop, (z, y, x))
    origin, _ = crop.voxels(cells)
    answer = engine.run(batch, cells)
    return part_of(
        answer, [a - o for a, o in zip(start, origin, strict=True)], [b - o for b, o in zip(stop, origin, strict=True)]
    )


def part_of(logits: Logits, start: Sequence[int], stop: Sequence[int]) -> Logits:
    """The voxels [start, stop) along its last three axes."""
    z, y, x = map(slice, start, stop)
    return logits[..., z, y, x]


def _shape(numbers: Sequence[int]) -> Shape:
    z, y, x = numbers
    return z, y, x
