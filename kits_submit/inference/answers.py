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
from kits_submit.inference.patches import PatchBox, batches
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
        inside = self.box.kept_inside
        return part_of(self.logits, [part.start for part in inside], [part.stop for part in inside], self.origin)


@dataclass
class Network:
    """An engine with what it takes to hand it patches.

    - `classes`: how many it answers with. `outside`: the value beyond a volume.
    - `batch_size`: patches at once; halved for good when the device runs out of memory.
    - `crop`: how the model is asked for less than a whole patch; None where it cannot be.
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

    def answers(
        self, boxes: list[PatchBox], image: Image, origin: Shape, *, whole: bool = False
    ) -> Iterator[list[Answer]]:
        """Each box's answer, batch by batch.

        Args:
            image: the part of the volume that begins at `origin`.
            whole: all of each patch is wanted, not only what it keeps.
        """
        values = {box: box.constant(image, self.outside, origin) if self.skip else None for box in boxes}
        flat = [Answer(box, self._of_constant(box.size, value)) for box, value in values.items() if value is not None]
        if flat:
            self.skipped += len(flat)
            yield flat
        asked = [box for box in boxes if values[box] is None]
        for alike, cells in [(asked, None)] if whole or self.crop is None else self._cells(asked, self.crop):
            for some in batches(alike, self.batch_size):
                batch = np.stack([box.cut(image, self.outside, origin) for box in some])[:, None]
                logits, first = self._run(batch, cells)
                yield [Answer(box, of_box, first) for box, of_box in zip(some, logits, strict=True)]

    def _cells(self, boxes: list[PatchBox], crop: Crop) -> Iterator[tuple[list[PatchBox], Cells]]:
        """Boxes that keep the same ends of their patch, and the cells that all they keep lies in."""
        for _, group in groupby(sorted(boxes, key=_ends), _ends):
            alike = list(group)
            (z0, z1), (y0, y1), (x0, x1) = (
                (min(part.start for part in parts), max(part.stop for part in parts))
                for parts in zip(*(box.kept_inside for box in alike), strict=True)
            )
            yield alike, crop.cells((z0, y0, x0), (z1, y1, x1), alike[0].size)

    def _of_constant(self, size: Shape, value: float) -> Logits:
        if (size, value) not in self._constant:
            self._constant[size, value] = self._run(np.full((1, 1, *size), value, np.float32), None)[0][0]
        return self._constant[size, value]

    def _run(self, batch: Batch, cells: Cells | None) -> tuple[Logits, Shape]:
        """Logits of `cells`, or of whole patches, and where they begin in the patch."""
        try:
            return answer(self.engine, batch, self.classes, self.crop, cells)
        except OutOfMemory:
            half = len(batch) // 2
            if half == 0:
                raise
            self.batch_size = half
            (first, origin), (second, _) = self._run(batch[:half], cells), self._run(batch[half:], cells)
            return np.concatenate([first, second]), origin


def answer(engine: Engine, batch: Batch, classes: int, crop: Crop | None, cells: Cells | None) -> tuple[Logits, Shape]:
    """What an engine says of `cells`, or of whole patches where it does not cut them; where that begins in the patch.

    Raises:
        ModelError: an answer of another shape, or with values that are not finite.
        DeviceError: the device failed.
    """
    logits = engine.run(batch, cells)
    whole = (len(batch), classes, *batch.shape[2:])
    origin: Shape = (0, 0, 0)
    wanted = whole
    if crop is not None and cells is not None and logits.shape != whole:
        origin, size = crop.voxels(cells)
        wanted = (len(batch), classes, *size)
    if logits.shape != wanted:
        raise ModelError(f"the network answered with shape {logits.shape}, expected {wanted}", fix="export it again")
    if not np.isfinite(logits).all():
        raise NotFinite("the network answered with NaN or infinite values", fix="export it again, or try --device cpu")
    return logits, origin


def part_alone(engine: Engine, batch: Batch, classes: int, crop: Crop, start: Shape, stop: Shape) -> Logits:
    """The voxels [start, stop) of each patch of `batch`, NKZYX, asked for alone.

    Raises:
        ModelError, DeviceError: as `answer`.
    """
    z, y, x = batch.shape[2:]
    logits, origin = answer(engine, batch, classes, crop, crop.cells(start, stop, (z, y, x)))
    return part_of(logits, start, stop, origin)


def _ends(box: PatchBox) -> tuple[tuple[bool, bool], ...]:
    """Along each axis: does it keep its patch's start, its end? The outermost in a volume do."""
    return tuple((a.keep_start == a.start, a.keep_stop >= a.start + a.size) for a in box.axes)
