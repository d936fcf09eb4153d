"""One case under way in a batch: what each of its threads found, and the one result that comes of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from kits_submit.batch.outcome import NO_KIDNEY, CaseResult
from kits_submit.channels import Ahead, Worker
from kits_submit.errors import InputError, KitsError, VolumeError
from kits_submit.files.cases import Case
from kits_submit.files.dicom.codes import Maker
from kits_submit.files.masks import write_mask
from kits_submit.files.volume import open_planes
from kits_submit.inference.clock import Clock
from kits_submit.inference.pipeline import Head, labelled, prepared, surveyed
from kits_submit.inference.restore import Slab
from kits_submit.inference.seen import Seen
from kits_submit.machine.memory import peak_mb
from kits_submit.recipe import Recipe

_PLANES_AHEAD = 96  # 0.2 GB on a grid of 1059 x 512 planes
_SLABS_BEHIND = 2
Written = tuple[str, dict[str, float], float]  # a mask's file name, millilitres by class, and contradicted


class Job:
    """A case with its reader ahead of the network and its finisher behind it.

    Its threads hand over what they make and touch nothing of it but the clock and what was seen; the
    batch's own thread alone fills it.
    """

    def __init__(
        self,
        case: Case,
        recipe: Recipe,
        hu_offset: float = 0.0,
        maker: Maker | None = None,
        also: Collection[str] = (),
    ) -> None:
        self.case = case
        self.clock = Clock()
        self.reader: Ahead[Any] | None = None
        self.finisher: Worker[Slab, Written] | None = None
        self.device = ""
        self.retried: list[str] = []
        self.patches = self.skipped = 0
        self._recipe = recipe
        self._hu_offset = hu_offset
        self._seen = Seen()
        self._maker, self._also = maker, also
        self._head: Head | None = None
        self._started = 0.0

    def read_ahead(self) -> None:
        """Start, or start again, to read its planes."""
        self._seen = Seen()
        self.reader = Ahead(self._read(), _PLANES_AHEAD)

    def begin(self) -> None:
        """The network turns to it."""
        self._started = time.perf_counter()

    def open(self) -> tuple[Head, Iterator[Any]]:
        """What is known of the volume, and its planes.

        Raises:
            KitsError: it cannot be read.
        """
        assert self.reader is not None, "read_ahead comes first"
        items = iter(self.reader)
        self._head = next(items)
        return self._head, items

    def finish_behind(self, head: Head, output: Path) -> Worker[Slab, Written]:
        """Start to restore, refine and write what it is given."""

        def finish(slabs: Iterator[Slab]) -> Written:
            mask = labelled(slabs, head, self._recipe, self.clock)
            with self.clock.stage("write"):
                write_mask(output / self.case.target, mask.labels, mask.grid, self._maker, self._also)
            return self.case.target.name, mask.volumes_ml(self._recipe), round(mask.contradicted_ml, 3)

        return Worker(finish, _SLABS_BEHIND)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about it, as far as that is known, a line each."""
        of_values = self._seen.note()
        of_head = () if self._head is None else self._head.notes
        return (*of_head, of_values) if of_values else of_head

    @property
    def doubtful(self) -> bool:
        """Whether the values that have come so far are odd."""
        return bool(self._seen.so_far())

    def close(self) -> None:
        """End its threads, whatever they are at."""
        for thread in (self.reader, self.finisher):
            if thread is not None:
                thread.close()

    def result(self, error: Exception | None) -> CaseResult:
        """What became of it."""
        told = None if error is None else _as_kits_error(error, self.case)
        grid = None if self._head is None else self._head.grid
        name, volume_ml, contradicted = (self.finisher and self.finisher.result) or (None, {}, 0.0)
        return CaseResult(
            self.case.case_id,
            status="done" if told is None else "failed",
            error="" if told is None else str(told),
            exit_code=0 if told is None else told.exit_code,
            prediction=name,
            shape=() if grid is None else grid.shape,
            spacing_mm=() if grid is None else grid.spacing_mm,
            orientation="" if grid is None else grid.orientation,
            device=self.device,
            retried=tuple(self.retried),
            patches=self.patches,
            skipped_patches=self.skipped,
            volume_ml=volume_ml,
            contradicted_ml=contradicted,
            notes=(*self.notes, *self._emptiness(volume_ml)),
            seconds=self.clock.seconds,
            wall_seconds=round(time.perf_counter() - self._started, 4),
            peak_mb=peak_mb(),
            trace="" if error is None else "".join(traceback.format_exception(error)),
        )

    def _emptiness(self, volume_ml: Mapping[str, float]) -> tuple[str, ...]:
        kidneys = [self._recipe.labels.names[number] for number in self._recipe.labels.kidney]
        return (NO_KIDNEY,) if volume_ml and kidneys and not any(volume_ml[name] for name in kidneys) else ()

    def _read(self) -> Iterator[Any]:
        """A `Head`, then planes."""
        if self.case.image is None:
            raise InputError(
                "no imaging.nii.gz in it", fix="add the image, or remove the folder", path=self.case.folder
            )
        survey = None
        if self._recipe.practice.looks_first:
            with open_planes(self.case.image, self._hu_offset) as source:
                survey = surveyed(source, self._recipe, self.clock)
        with open_planes(self.case.image, self._hu_offset) as source:
            head = Head.of(source, self._recipe, survey)
            yield head
            yield from prepared(source, head, self._recipe, self.clock, self._seen)


def _as_kits_error(error: Exception, case: Case) -> KitsError:
    if isinstance(error, KitsError):
        return error
    if isinstance(error, MemoryError):
        return VolumeError("does not fit into memory", fix="give the process more memory", path=case.image)
    name = type(error).__name__
    return KitsError(f"unexpected {name}", fix="run again with --debug and report it", path=case.image)
