"""Patches handed to an engine, as few and as little of each as the answer needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np

from kits_submit.engine.crop import Cells, Crop, part_of
from kits_submit.engine.protocol import Engine, OutOfMemory
from kits_submit.errors import ModelError
from kits_submit.patches import PatchBox, batches
from kits_submit.types import Batch, Image, Logits, Shape


class NotFinite(ModelError):  # noqa: N818 -- says what the answer is
    """The network answered with NaN or infinite values: the device's fault, or the weights'."""


class Answer(NamedTuple):
    """A patch's KZYX logits: of all of it, or of the part that begins at `origin` in it."""

    box: PatchBox
    logits: Logits
    origin: Shape = (0, 0, 0)

    @property
    def kept(self) -> Logits:
        """Of the voxels that are taken from this patch."""
        inside = list(zip(self.box.kept_inside, self.origin, strict=True))
        return part_of(self.logits, [part.start - o for part, o in inside], [part.stop - o for part, o in inside])


@dataclass(frozen=True)
class _Part:
    """Of each patch of a batch: `size` voxels from `origin` on, asked for as `cells`; None asks for whole patches."""

    size: Shape
    origin: Shape = (0, 0, 0)
    cells: Cells | None = None


@dataclass
class Network:
    """An engine with what it takes to hand it patches.

    - `classes`: how many it answers with. `outside`: the value beyond a volume.
    - `batch_size`: patches at once; halved for good when the device runs out of memory.
    - `crop`: how the model is asked for less than a whole patch; None where it cannot be, or where all is wanted.
    - `skip`: compute a patch of one value (air: the window's lower end throughout) once, and take that answer for each
      other of that value. The network is a function of the patch alone, so the labels are those of a run without it.
    - `skipped`: how many patches were answered so.
    """

    engine: Engine
    classes: int
    outside: float
    batch_size: int = 1
    crop: Crop | None = None
    skip: bool = True
    skipped: int = 0
    _constant: dict[tuple[Shape, float], Logits] = field(default_factory=dict)

    def answers(self, boxes: list[PatchBox], image: Image, origin: Shape) -> Iterator[list[Answer]]:
        """Each box's answer, batch by batch. `image`: the part of the volume that begins at `origin`."""
        values = {box: box.constant(image, self.outside, origin) if self.skip else None for box in boxes}
        flat = [Answer(box, self._of_constant(box.size, value)) for box, value in values.items() if value is not None]
        if flat:
            self.skipped += len(flat)
            yield flat
        for alike in self._alike([box for box in boxes if values[box] is None]):
            for some in batches(alike, self.batch_size):
                batch = np.stack([box.cut(image, self.outside, origin) for box in some])[:, None]
                part = self._part(some)
                yield [
                    Answer(box, logits, part.origin) for box, logits in zip(some, self._run(batch, part), strict=True)
                ]

    def _alike(self, boxes: list[PatchBox]) -> Iterator[list[PatchBox]]:
        """Boxes that keep about as much: one that keeps its patch to the end would have a batch computed to the end."""
        if self.crop is None:
            yield boxes
            return
        for _, alike in groupby(sorted(boxes, key=_wide), _wide):
            yield list(alike)

    def _part(self, boxes: list[PatchBox]) -> _Part:
        """What all of these keep lies within."""
        if self.crop is None:
            return _Part(boxes[0].size)
        kept = [box.kept_inside for box in boxes]
        (z0, z1), (y0, y1), (x0, x1) = (
            (min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*kept, strict=True)
        )
        cells = self.crop.cells((z0, y0, x0), (z1, y1, x1), boxes[0].size)
        origin, size = self.crop.voxels(cells)
        return _Part(size, origin, cells)

    def _of_constant(self, size: Shape, value: float) -> Logits:
        if (size, value) not in self._constant:
            self._constant[size, value] = self._run(np.full((1, 1, *size), value, np.float32), _Part(size))[0]
        return self._constant[size, value]

    def _run(self, batch: Batch, part: _Part) -> Logits:
        try:
            logits = self.engine.run(batch) if part.cells is None else self.engine.run(batch, part.cells)
        except OutOfMemory:
            half = len(batch) // 2
            if half == 0:
                raise
            self.batch_size = half
            return np.concatenate([self._run(batch[:half], part), self._run(batch[half:], part)])
        _refuse_wrong(logits, (len(batch), self.classes, *part.size))
        return logits


def _wide(box: PatchBox) -> tuple[bool, ...]:
    """For each axis: does it keep an end of its patch, as the outermost in a volume do?"""
    return tuple(a.keep_start == a.start or a.keep_stop == a.start + a.size for a in box.axes)


def _refuse_wrong(logits: Logits, shape: tuple[int, ...]) -> None:
    if logits.shape != shape:
        raise ModelError(f"the network answered with shape {logits.shape}, expected {shape}", fix="export it again")
    if not np.isfinite(logits).all():
        raise NotFinite("the network answered with NaN or infinite values", fix="export it again, or try --device cpu")
