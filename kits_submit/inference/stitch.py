"""Patches through an engine and back into one answer, slab by slab. Knows nothing of files or HU.

A volume comes plane by plane along one axis. As soon as a row of patches across that axis has its planes it is
computed, and as soon as no later row can touch a slab the slab leaves. So no more of the image is held than a patch is
deep, and the network runs while the file is still being read.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kits_submit.engine.crop import Crop
from kits_submit.engine.protocol import Engine
from kits_submit.inference.answers import Answer, Network
from kits_submit.inference.decision import decision_of
from kits_submit.inference.patches import PatchBox, PatchPlan, Span
from kits_submit.inference.restore import Slab
from kits_submit.recipe import Recipe
from kits_submit.types import Image, Logits, Probabilities, Shape

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Arriving:
    """A standardised volume on the Recipe's grid, plane by plane.

    - `shape`: Z, Y, X. `axis`: 0, 1 or 2, which the planes lie across. `descending`: the order of their indices.
    - `planes`: (index, plane of the two other axes in their order), each index once.
    """

    shape: Shape
    axis: int
    descending: bool
    planes: Iterable[tuple[int, npt.NDArray[np.float32]]]


def stitch(
    image: Image,
    recipe: Recipe,
    engine: Engine,
    *,
    outside: float,
    batch_size: int = 1,
    on_patches: Told | None = None,
    plan: PatchPlan | None = None,
    crop: Crop | None = None,
) -> Probabilities:
    """Probabilities of classes or regions of a standardised ZYX image, KZYX on the same grid.

    By the Recipe's plan each voxel's value is that of the one patch that keeps it: nothing is blended, so a network
    that is a function of each voxel alone gives the same bits stitched as whole.

    Args:
        outside: the standardised value beyond the volume (air).
        batch_size: patches handed to the engine at once; halved when the device runs out of memory.
        on_patches: told (done, all) after each batch.
        plan: another than the Recipe's.
        crop: the model's, where it can be asked for part of a patch.

    Raises:
        ModelError: the engine answers with another shape, or with values that are not finite.
        DeviceError: the device failed.
    """
    z, y, x = image.shape
    probabilities = np.empty((recipe.outputs, z, y, x), np.float32)
    decision = decision_of(recipe)
    plan = plan or PatchPlan.of(recipe)
    network = Network(engine, recipe.outputs, outside, batch_size, crop)
    volume = Arriving((z, y, x), axis=0, descending=False, planes=enumerate(image))
    for slab in slabs(volume, plan, network, on_patches):
        decision.probabilities(slab.scores, out=probabilities[:, slab.start : slab.stop])
    return probabilities


def batch_size(engine: Engine, patch: Shape) -> int:
    """How many patches at once keep the engine busy."""
    return max(1, engine.batch_voxels // math.prod(patch))


def slabs(volume: Arriving, plan: PatchPlan, network: Network, on_patches: Told | None = None) -> Iterator[Slab]:
    """Class logits of a volume, slab by slab, in the order in which its planes arrive.

    Raises:
        ModelError, DeviceError: as `stitch`.
    """
    rows = plan.rows(volume.shape, volume.axis)
    if volume.descending:
        rows.reverse()
    total, done = sum(len(boxes) for _, boxes in rows), 0
    window = _Window(volume)
    merged = _Kept(volume, network.classes) if plan.overlap is None else _Blended(volume, plan, network.classes)
    for i, (span, boxes) in enumerate(rows):
        block = window.advance(span)
        origin = tuple(max(0, span.start) if axis == volume.axis else 0 for axis in range(3))
        merged.begin(span, boxes)
        for answered in network.answers(boxes, block, origin, whole=merged.whole):  # type: ignore[arg-type]
            merged.take(answered)
            done += len(answered)
            if on_patches:
                on_patches(done, total)
        yield merged.finished(rows[i + 1][0] if i + 1 < len(rows) else None)


class _Window:
    """The planes that the row at hand needs."""

    def __init__(self, volume: Arriving) -> None:
        self._volume, self._planes = volume, iter(volume.planes)
        self._held: dict[int, npt.NDArray[np.float32]] = {}

    def advance(self, span: Span) -> Image:
        """The part of the volume that a row reads."""
        wanted = range(max(0, span.start), min(span.start + span.size, self._volume.shape[self._volume.axis]))
        self._held = {i: plane for i, plane in self._held.items() if i in wanted}
        last = wanted[0] if self._volume.descending else wanted[-1]
        while last not in self._held:
            i, plane = next(self._planes)
            if i in wanted:
                self._held[i] = plane
        return np.moveaxis(np.stack([self._held[i] for i in wanted]), 0, self._volume.axis)


class _Kept:
    """Each voxel from the one patch that keeps it."""

    whole = False

    def __init__(self, volume: Arriving, classes: int) -> None:
        self._axis, self._classes = volume.axis, classes
        self._others = tuple(n for axis, n in enumerate(volume.shape) if axis != volume.axis)

    def begin(self, span: Span, _: list[PatchBox]) -> None:
        """A row starts."""
        self._start, self._stop = span.keep_start, span.keep_stop
        self._scores = np.empty((self._classes, self._stop - self._start, *self._others), np.float32)

    def take(self, answered: list[Answer]) -> None:
        """Keep what is each patch's."""
        for answer in answered:
            rows, columns = (part for axis, part in enumerate(answer.box.kept) if axis != self._axis)
            self._scores[:, :, rows, columns] = np.moveaxis(answer.kept, 1 + self._axis, 1)

    def finished(self, _: Span | None) -> Slab:
        """The slab that no later row can touch."""
        return Slab(self._axis, self._start, self._stop, self._scores)


class _Blended:
    """Each voxel the mean of every patch over it, weighted by the plan's weights."""

    whole = True

    def __init__(self, volume: Arriving, plan: PatchPlan, classes: int) -> None:
        self._axis, self._descending, self._classes = volume.axis, volume.descending, classes
        self._shape = volume.shape
        self._others = tuple(n for axis, n in enumerate(volume.shape) if axis != volume.axis)
        self._weights = plan.weights(plan.size(volume.shape))
        self._start = self._stop = 0
        self._coming: deque[PatchBox] = deque()  # of the row, in the order in which they are added
        self._early: dict[PatchBox, Logits] = {}
        self._sums = np.zeros((classes + 1, 0, *self._others), np.float32)  # the last: of the weights alone

    def begin(self, span: Span, boxes: list[PatchBox]) -> None:
        """A row starts: room for the planes that are new."""
        self._coming = deque(sorted(boxes, key=lambda box: box.place))
        start, stop = max(0, span.start), min(span.start + span.size, self._shape[self._axis])
        if self._stop > self._start:
            start, stop = min(start, self._start), max(stop, self._stop)
        room = np.zeros((self._classes + 1, stop - start, *self._others), np.float32)
        room[:, self._start - start : self._stop - start] = self._sums
        self._sums, self._start, self._stop = room, start, stop

    def take(self, answered: list[Answer]) -> None:
        """Add them, each of its whole patch, in one order, so that sums round alike: one that is early waits.

        Only patches of one value are early (`Network.answers`), and those share one array of logits.
        """
        self._early |= {answer.box: answer.logits for answer in answered}
        while self._coming and self._coming[0] in self._early:
            box = self._coming.popleft()
            self._add(box, self._early.pop(box))

    def _add(self, box: PatchBox, logits: Logits) -> None:
        places = [slice(max(0, a.start), min(a.start + a.size, n)) for a, n in zip(box.axes, self._shape, strict=True)]
        inside = tuple(slice(p.start - a.start, p.stop - a.start) for a, p in zip(box.axes, places, strict=True))
        weights = self._weights[inside]
        place = places.pop(self._axis)
        into = self._sums[:, place.start - self._start : place.stop - self._start, places[0], places[1]]
        into[:-1] += np.moveaxis(logits[(slice(None), *inside)] * weights, 1 + self._axis, 1)
        into[-1] += np.moveaxis(weights, self._axis, 0)

    def finished(self, following: Span | None) -> Slab:
        """The slab that no later row can touch."""
        start, stop = self._start, self._stop
        if following is not None and self._descending:
            start = min(following.start + following.size, stop)
        elif following is not None:
            stop = max(following.start, start)
        done = self._sums[:, start - self._start : stop - self._start]
        slab = Slab(self._axis, start, stop, done[:-1] / done[-1])
        if self._descending:
            self._sums, self._stop = self._sums[:, : start - self._start], start
        else:
            self._sums, self._start = self._sums[:, stop - self._start :], stop
        return slab
