"""One volume's way, as three parts that its caller may run in three threads:

    prepared   planes as the file has them -> the Recipe's grid and intensity, plane by plane
    answered   -> patches, engine, stitch: class logits, slab by slab, while planes still arrive
    labelled   -> the source grid, refined: a label map

Knows neither file names nor what becomes of the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kits_submit.engine.crop import Cells, Crop
from kits_submit.engine.protocol import Engine
from kits_submit.files.volume import Grid, Planes
from kits_submit.inference.answers import Network
from kits_submit.inference.clock import Clock
from kits_submit.inference.decision import decision_of
from kits_submit.inference.grid import resample_planes
from kits_submit.inference.intensity import air, standardise
from kits_submit.inference.oblique import ObliqueRestorer, Upright, upright_planes
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.plausible import network_shape, slab_note
from kits_submit.inference.postprocess import refine_in_place
from kits_submit.inference.restore import Restorer, Slab
from kits_submit.inference.seen import Seen
from kits_submit.inference.stitch import Arriving, batch_size, slabs
from kits_submit.labels import volume_ml
from kits_submit.recipe import Recipe
from kits_submit.types import Batch, Labels, Logits, Shape

Plane = tuple[int, npt.NDArray[np.float32]]  # its index along the axis, and the two other axes in their order


@dataclass(frozen=True)
class Head:
    """What is known of a volume before its first plane.

    - `grid`: of the source. `shape`: Z, Y, X on the Recipe's grid.
    - `axis`, `descending`: how its planes come to the network.
    - `upright`: the Recipe's grid where the source's axes lie far from the patient's; None elsewhere.
    """

    grid: Grid
    shape: Shape
    axis: int
    descending: bool
    upright: Upright | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the volume, from its header, a line each."""
        return (*self.grid.notes, *slab_note(self.grid))

    @classmethod
    def of(cls, source: Planes, recipe: Recipe) -> Self:
        """Raises: VolumeError: the volume cannot be what its header says."""
        shape, upright = network_shape(source.grid, recipe.spacing_mm), Upright.of(source.grid, recipe.spacing_mm)
        if upright is not None:
            return cls(source.grid, shape, axis=0, descending=False, upright=upright)
        return cls(source.grid, shape, source.axis, source.descending)


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


def prepared(source: Planes, head: Head, recipe: Recipe, clock: Clock, seen: Seen) -> Iterator[Plane]:
    """Standardised planes on the Recipe's grid, as the file's planes come; `seen` samples them before."""
    rows, columns = (n for axis, n in enumerate(head.shape) if axis != source.axis)
    stored = clock.timed(seen.watch(source.stream, head.grid.shape[source.axis]), "read")
    if head.upright is None:
        resampled = resample_planes(stored, head.grid.shape[source.axis], head.shape[source.axis], (rows, columns))
    else:
        resampled = upright_planes(stored, head.grid.shape, source.axis, head.upright, recipe.clip_hu[0])
    for i, plane in clock.timed(resampled, "resample", without="read"):
        yield i, standardise(np.array(plane, np.float32, order="C"), recipe)


def network_of(
    engine: Engine, recipe: Recipe, plan: PatchPlan, crop: Crop | None, shape: Shape, clock: Clock
) -> Network:
    """An engine as one volume is handed to it."""
    size = batch_size(engine, plan.size(shape))
    return Network(_Clocked(engine, clock), recipe.outputs, air(recipe), size, crop)


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
    decision = decision_of(recipe)
    restorer: Restorer | ObliqueRestorer
    if head.upright is None:
        restorer = Restorer(labels, head.shape, descending=head.descending, decision=decision)
    else:
        restorer = ObliqueRestorer(labels, head.upright, grid.slowest[0], decision)
    for slab in answers:
        with clock.stage("restore"):
            restorer.add(slab)
    touched = labels[restorer.touched or (slice(0),) * 3]
    with clock.stage("refine"):
        refine_in_place(touched, grid.box_mm, recipe.refinement, recipe.labels)
    return Mask(labels, touched, grid, volume_ml(decision.contradicted, grid.box_mm))


class _Clocked:
    """An engine whose time is the case's `network` time."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock
        self.name, self.device, self.batch_voxels = engine.name, engine.device, engine.batch_voxels

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        with self._clock.stage("network"):
            return self._engine.run(batch, cells)
