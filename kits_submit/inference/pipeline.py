"""One volume's way, as three parts that its caller may run in three threads:

    surveyed   (where the Recipe asks for it) planes, once, for what must be known of the whole before
    prepared   planes as the file has them -> the Recipe's grid and intensity, plane by plane
    answered   -> patches, engine, stitch: class logits, slab by slab, while planes still arrive
    labelled   -> the source grid, refined: a label map

Knows neither file names nor what becomes of the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from kits_submit.engine.crop import Cells, Crop
from kits_submit.engine.protocol import Engine
from kits_submit.files.volume import Grid, Planes
from kits_submit.inference.answers import Network
from kits_submit.inference.clock import Clock
from kits_submit.inference.decision import OfLogits, decision_of
from kits_submit.inference.frame import Frame
from kits_submit.inference.grid import resample_planes, target_shape
from kits_submit.inference.intensity import Intensity, air
from kits_submit.inference.largest import keep_largest
from kits_submit.inference.mirrored import Mirrored
from kits_submit.inference.oblique import ObliqueRestorer, Upright, upright_of, upright_planes
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.plausible import network_shape, slab_note
from kits_submit.inference.postprocess import refine_in_place
from kits_submit.inference.restore import Restorer, Slab
from kits_submit.inference.seen import Seen
from kits_submit.inference.splines import Along
from kits_submit.inference.stitch import Arriving, batch_size, slabs
from kits_submit.inference.survey import Box, Survey
from kits_submit.labels import volume_ml
from kits_submit.recipe import Recipe
from kits_submit.types import Batch, Labels, Logits, Shape

Plane = tuple[int, npt.NDArray[np.float32]]  # its index along the axis, and the two other axes in their order


@dataclass(frozen=True)
class Head:
    """What is known of a volume before its first plane.

    - `grid`: of the source. `shape`: Z, Y, X on the Recipe's grid.
    - `axis`, `descending`: how its planes come to the network, of the network's axes.
    - `frame`: the network's axes in the volume. `box`: the part of the volume, along them, that is segmented.
    - `survey`: what was seen of it before; None where the Recipe asks for nothing.
    - `upright`: the Recipe's grid where the source's axes lie far from the patient's; None elsewhere.
    """

    grid: Grid
    shape: Shape
    axis: int
    descending: bool
    frame: Frame
    box: Box
    survey: Survey | None = None
    upright: Upright | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the volume, from its header, a line each."""
        return (*self.grid.notes, *slab_note(self.grid))

    @property
    def source_shape(self) -> Shape:
        """Of the box, Z, Y, X of the network."""
        z, y, x = (stop - start for start, stop in self.box)
        return z, y, x

    @classmethod
    def of(cls, source: Planes, recipe: Recipe, survey: Survey | None = None) -> Self:
        """Raises: VolumeError: the volume cannot be what its header says."""
        frame, upright = Frame.of(source.grid, recipe), upright_of(source.grid, recipe)
        shape = network_shape(source.grid, frame.back(recipe.spacing_mm), upright)
        z, y, x = frame.shape(source.grid)
        box: Box = ((0, z), (0, y), (0, x))
        if upright is not None:
            return cls(source.grid, shape, 0, descending=False, frame=frame, box=box, upright=upright)
        if survey is not None and recipe.practice.nonzero:
            box = survey.box
        axis, descending = frame.arrival(source.axis, descending=source.descending)
        head = cls(source.grid, frame.turned(shape), axis, descending, frame, box, survey)
        if recipe.practice.nonzero or recipe.practice.halves_even:
            spacing_mm, even = frame.spacing(source.grid), recipe.practice.halves_even
            shape = target_shape(head.source_shape, spacing_mm, recipe.spacing_mm, halves_even=even)
            head = replace(head, shape=shape)
        return head


@dataclass(frozen=True)
class Mask:
    """A label map on the source grid.

    - `labels`: ZYX. `touched`: the view of it that holds all that is not background.
    - `contradicted_ml`: what an inner region claimed outside the one that holds it.
    """

    labels: Labels
    touched: Labels
    grid: Grid
    contradicted_ml: float = 0.0

    def volumes_ml(self, recipe: Recipe) -> dict[str, float]:
        """Of each class but the background, by name."""
        return {
            recipe.labels.names[number]: volume_ml(int(np.count_nonzero(self.touched == number)), self.grid.box_mm)
            for number in recipe.labels.foreground
        }


def surveyed(source: Planes, recipe: Recipe, clock: Clock) -> Survey:
    """A look at all of a volume, for `Head.of`; its planes are spent then."""
    frame = Frame.of(source.grid, recipe)
    axis, _ = frame.arrival(source.axis, descending=source.descending)
    with clock.stage("survey"):
        planes = frame.planes(source.stream, source.axis, source.grid.shape[source.axis])
        return Survey.of(planes, axis, frame.shape(source.grid))


def prepared(source: Planes, head: Head, recipe: Recipe, clock: Clock, seen: Seen) -> Iterator[Plane]:
    """Standardised planes on the Recipe's grid, as the file's planes come; `seen` samples them before."""
    stored = clock.timed(seen.watch(source.stream, head.grid.shape[source.axis]), "read")
    intensity, early = Intensity.of(recipe, head.survey), recipe.practice.early
    for i, plane in clock.timed(_resampled(stored, source, head, recipe, intensity), "resample", without="read"):
        made = np.array(plane, np.float32, order="C")
        yield i, made if early else intensity.apply(made)


def _resampled(
    stored: Iterator[Plane], source: Planes, head: Head, recipe: Recipe, intensity: Intensity
) -> Iterator[Plane]:
    if head.upright is not None:
        return upright_planes(stored, head.grid.shape, source.axis, head.upright, recipe.clip_hu[0])
    boxed = _boxed(head.frame.planes(stored, source.axis, head.grid.shape[source.axis]), head)
    if recipe.practice.early:
        boxed = ((i, intensity.apply(np.array(plane, np.float32, order="C"))) for i, plane in boxed)
    return _cubic(boxed, head, recipe, intensity) if recipe.practice.order > 1 else _linear(boxed, head)


def _boxed(planes: Iterator[Plane], head: Head) -> Iterator[Plane]:
    """What of the planes lies in the box; all are taken, for the file's end is what checks it."""
    start, stop = head.box[head.axis]
    rows, columns = (slice(*span) for axis, span in enumerate(head.box) if axis != head.axis)
    for i, plane in planes:
        if start <= i < stop:
            yield i - start, plane[rows, columns]


def _linear(planes: Iterator[Plane], head: Head) -> Iterator[Plane]:
    rows, columns = (n for axis, n in enumerate(head.shape) if axis != head.axis)
    return resample_planes(planes, head.source_shape[head.axis], head.shape[head.axis], (rows, columns))


def _cubic(planes: Iterator[Plane], head: Head, recipe: Recipe, intensity: Intensity) -> Iterator[Plane]:
    apart = recipe.practice.apart_axis(head.frame.spacing(head.grid), recipe.spacing_mm)
    assert head.survey is not None, "Practice.looks_first says so"
    values = intensity if recipe.practice.early else Intensity(None, 0.0, 1.0)
    along = Along.between(head.source_shape, head.shape, apart)
    return along.planes(planes, head.axis, values.limits(head.survey), descending=head.descending)


def network_of(
    engine: Engine,
    recipe: Recipe,
    plan: PatchPlan,
    crop: Crop | None,
    shape: Shape,
    clock: Clock,
) -> Network:
    """An engine as one volume is handed to it."""
    size = batch_size(engine, plan.size(shape))
    asked: Engine = _Clocked(engine, clock)
    if recipe.practice.mirrored:
        asked, crop = Mirrored(asked, recipe.practice.mirrored), None
    return Network(asked, recipe.outputs, air(recipe), size, crop)


def answered(
    head: Head, planes: Iterable[Plane], plan: PatchPlan, network: Network, on_patches: Callable[[int, int], None]
) -> Iterator[Slab]:
    """Class logits, slab by slab; ends at the end of `planes`, which is what checks a file.

    Raises:
        ModelError, DeviceError: as `stitch.slabs`; what `planes` raises.
    """
    rest = iter(planes)
    yield from slabs(Arriving(head.shape, head.axis, head.descending, rest), plan, network, on_patches)
    for _ in rest:
        pass


def labelled(answers: Iterable[Slab], head: Head, recipe: Recipe, clock: Clock) -> Mask:
    """The refined label map of a whole volume's slabs."""
    grid = head.grid
    labels = grid.canonical_view(np.zeros(grid.stored_shape[:3], np.uint8, order="F"))
    practice = recipe.practice
    decision = decision_of(recipe)
    restorer: Restorer | ObliqueRestorer
    boxed = head.frame.view(labels)[tuple(slice(*span) for span in head.box)]
    if head.upright is not None:
        restorer = ObliqueRestorer(labels, head.upright, grid.slowest[0], decision)
    else:
        restorer = Restorer(
            boxed,
            head.shape,
            descending=head.descending,
            decision=OfLogits(decision) if practice.logits else decision,
            apart=practice.apart_axis(recipe.spacing_mm, head.frame.spacing(grid)),
        )
    for slab in answers:
        with clock.stage("restore"):
            restorer.add(slab)
    touched = boxed[restorer.touched or (slice(0),) * 3]
    with clock.stage("refine"):
        refine_in_place(touched, head.frame.turned(grid.box_mm), recipe.refinement, recipe.labels)
        keep_largest(touched, practice.largest)
    return Mask(labels, touched, grid, volume_ml(decision.contradicted, grid.box_mm))


class _Clocked:
    """An engine whose time is the case's `network` time."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock
        self.name, self.device, self.batch_voxels = engine.name, engine.device, engine.batch_voxels

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        with self._clock.stage("network"):
            return self._engine.run(batch, cells)
