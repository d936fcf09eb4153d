"""One case from file to file, and a batch of them: the way of the data as one readable function.

volume -> grid -> intensity -> patches, engine, stitch -> grid (back) -> postprocess -> submission
"""

from __future__ import annotations

import math
import platform
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from kits_submit import __version__
from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.channels import Ahead, Worker
from kits_submit.engine.crop import Cells
from kits_submit.engine.model import Model
from kits_submit.engine.protocol import Engine
from kits_submit.engine.select import Selection
from kits_submit.errors import DeviceError, InputError, KitsError, VolumeError
from kits_submit.files.cases import Case
from kits_submit.files.output import write_prediction
from kits_submit.files.volume import Grid, open_planes
from kits_submit.inference.answers import Network, NotFinite
from kits_submit.inference.grid import resample_planes, target_shape
from kits_submit.inference.intensity import air, standardise
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.postprocess import refine_in_place, volume_ml
from kits_submit.inference.restore import Restorer, Slab
from kits_submit.inference.stitch import Arriving, batch_size, slabs
from kits_submit.machine.memory import peak_mb, reset_peak
from kits_submit.recipe import Recipe
from kits_submit.types import KIDNEY, TUMOR, Batch, Logits, Shape

T = TypeVar("T")

_LIBRARIES = ("numpy", "scipy", "nibabel")
_LONGEST_MM = 4000.0
_MOST_VOXELS = 1 << 30
_PLANES_AHEAD = 96  # 0.2 GB on a grid of 1059 x 512 planes
_SLABS_BEHIND = 2


@dataclass(frozen=True)
class _Head:
    """What a reader tells first: the source grid, and how the planes come on the Recipe's grid."""

    grid: Grid
    shape: Shape
    axis: int
    descending: bool


def run_cases(
    cases: Sequence[Case],
    output: Path,
    model: Model,
    selection: Selection,
    watcher: Watcher | None = None,
    *,
    plan: PatchPlan | None = None,
    jobs: int = 1,
) -> list[CaseResult]:
    """Each case; one that fails, for whatever reason, is recorded and the others go on.

    Reading (up to `jobs` cases ahead), computing, and restoring, refining and writing (up to `jobs` cases behind)
    overlap. The watcher is told on this thread, `case_ended` once a case, when its mask stands under its final name.
    A case whose device fails, or answers NaN, is begun again one rung lower where the selection has one.

    Args:
        plan: another patch plan than the Recipe's.
    """
    with _Batch(output, model, selection, watcher or Watcher(), plan or PatchPlan.of(model.recipe), jobs) as batch:
        return batch.run(cases)


class _Batch:
    """A batch under way: readers ahead, the network here, finishers behind."""

    def __init__(
        self, output: Path, model: Model, selection: Selection, watcher: Watcher, plan: PatchPlan, jobs: int
    ) -> None:
        self._output, self._recipe, self._selection, self._watcher = output, model.recipe, selection, watcher
        self._crop = model.crop
        self._plan, self._jobs = plan, jobs
        self._readers: dict[str, Ahead[Any]] = {}
        self._finishing: list[tuple[CaseResult, Case, Worker[Slab]]] = []
        self._started: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._blas = threadpool_limits(1, user_api="blas")  # its threads would take the network's processors
        return self

    def __exit__(self, *_: object) -> None:
        self._blas.restore_original_limits()
        for reader in self._readers.values():
            reader.close()
        for _result, _case, worker in self._finishing:
            worker.close()

    def run(self, cases: Sequence[Case]) -> list[CaseResult]:
        results = [CaseResult(case.case_id) for case in cases]
        for i, (case, result) in enumerate(zip(cases, results, strict=True)):
            for near, its in zip(cases[i : i + 1 + self._jobs], results[i:], strict=False):
                if near.case_id not in self._readers:
                    self._readers[near.case_id] = self._reader(near, its)
            self._watcher.case_started(case.case_id)
            self._started[case.case_id] = time.perf_counter()
            reset_peak()
            try:
                self._compute_on_some_rung(case, result)
            except Exception as error:
                self._ended(case, result, error)
            self._collect(most=self._jobs)
        self._collect(most=0)
        return results

    def _reader(self, case: Case, result: CaseResult) -> Ahead[Any]:
        return Ahead(_read(case, self._recipe, result), _PLANES_AHEAD)

    def _compute_on_some_rung(self, case: Case, result: CaseResult) -> None:
        while True:
            reader = self._readers[case.case_id]
            try:
                return self._compute(case, result, reader)
            except (DeviceError, NotFinite) as error:
                reader.close()
                if not self._selection.step_down(error.what):
                    raise
                result.retried.append(f"{error.what}; again on {self._selection.engine.device}")
                self._readers[case.case_id] = self._reader(case, result)

    def _compute(self, case: Case, result: CaseResult, reader: Ahead[Any]) -> None:
        items = iter(reader)
        head: _Head = next(items)
        grid = head.grid
        result.shape, result.spacing_mm, result.orientation = grid.shape, grid.spacing_mm, grid.orientation
        self._collect(most=self._jobs)

        def finish(slabs: Iterator[Slab]) -> None:
            _finish(slabs, head, case, self._output, self._recipe, result)

        worker: Worker[Slab] = Worker(finish, _SLABS_BEHIND)
        network = self._network(result, head.shape)
        try:
            volume = Arriving(head.shape, head.axis, head.descending, items)
            for slab in slabs(volume, self._plan, network, lambda *told: self._told(result, *told)):
                worker.put(slab)
            for _ in items:  # reaching the file's end is what checks it
                pass
        except BaseException:
            worker.close()
            raise
        result.skipped_patches = network.skipped
        self._collect(most=self._jobs - 1)  # so that what a watcher has been told lags by one mask
        worker.end()
        self._finishing.append((result, case, worker))

    def _network(self, result: CaseResult, shape: Shape) -> Network:
        engine = self._selection.engine
        result.device = engine.device
        size = batch_size(engine, self._plan.size(shape))
        clocked = _Clocked(engine, result)
        return Network(clocked, len(self._recipe.labels), air(self._recipe), size, self._crop)

    def _told(self, result: CaseResult, done: int, total: int) -> None:
        result.patches = total
        self._watcher.patches_done(done, total)
        self._collect(most=len(self._finishing))

    def _collect(self, most: int) -> None:
        """End each case whose finisher is done; wait until no more than `most` are left."""
        for entry in list(self._finishing):
            result, case, worker = entry
            if len(self._finishing) > most:
                worker.join()
            if worker.done:
                self._finishing.remove(entry)
                self._ended(case, result, worker.error)

    def _ended(self, case: Case, result: CaseResult, error: Exception | None) -> None:
        if error is not None:
            told = _as_kits_error(error, case)
            result.status, result.error, result.exit_code = "failed", str(told), told.exit_code
            result.trace = "".join(traceback.format_exception(error))
        result.wall_seconds = round(time.perf_counter() - self._started[case.case_id], 4)
        result.peak_mb = peak_mb()
        reader = self._readers.get(case.case_id)
        if reader is not None:
            reader.close()
        self._watcher.case_ended(result)


class _Clocked:
    """An engine whose time is the case's `network` time."""

    def __init__(self, engine: Engine, result: CaseResult) -> None:
        self._engine, self._result = engine, result
        self.name, self.device, self.batch_voxels = engine.name, engine.device, engine.batch_voxels

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        with _stage(self._result, "network"):
            return self._engine.run(batch, cells)


def _read(case: Case, recipe: Recipe, result: CaseResult) -> Iterator[Any]:
    """A `_Head`, then (index, standardised plane) on the Recipe's grid, as the file's planes come."""
    if case.image is None:
        raise InputError("no imaging.nii.gz in it", fix="add the image, or remove the folder", path=case.folder)
    with open_planes(case.image) as source:
        grid = source.grid
        shape = target_shape(grid.shape, grid.spacing_mm, recipe.spacing_mm)
        refuse_impossible(grid, shape)
        yield _Head(grid, shape, source.axis, source.descending)
        rows, columns = (n for axis, n in enumerate(shape) if axis != source.axis)
        stored = _clocked(source.stream, result, "read")
        resampled = resample_planes(stored, grid.shape[source.axis], shape[source.axis], (rows, columns))
        for i, plane in _clocked(resampled, result, "resample", without="read"):
            yield i, standardise(np.array(plane, np.float32, order="C"), recipe)


def _finish(slabs: Iterator[Slab], head: _Head, case: Case, output: Path, recipe: Recipe, result: CaseResult) -> None:
    """Restore, refine, write and measure: what becomes of a case behind the network."""
    grid = head.grid
    labels = grid.canonical_view(np.zeros(grid.stored_shape[:3], np.uint8, order="F"))
    restorer = Restorer(labels, head.shape, descending=head.descending)
    for slab in slabs:
        with _stage(result, "restore"):
            restorer.add(slab)
    touched = labels[restorer.touched or (slice(0),) * 3]
    with _stage(result, "refine"):
        refine_in_place(touched, grid.spacing_mm, recipe.refinement)
    with _stage(result, "write"):
        result.prediction = write_prediction(output, case.case_id, labels, grid).name
    for name, number in (("kidney", KIDNEY), ("tumor", TUMOR)):
        result.volume_ml[name] = volume_ml(int(np.count_nonzero(touched == number)), grid.spacing_mm)


def _clocked(items: Iterable[T], result: CaseResult, name: str, without: str | None = None) -> Iterator[T]:
    """The same items; the time to make each is added to a stage, less what meanwhile went to another."""
    result.seconds.setdefault(name, 0.0)
    source = iter(items)
    while True:
        inner = result.seconds.get(without, 0.0) if without else 0.0
        started = time.perf_counter()
        try:
            item = next(source)
        except StopIteration:
            return
        finally:
            spent = time.perf_counter() - started
            result.seconds[name] += spent - ((result.seconds.get(without, 0.0) - inner) if without else 0.0)
        yield item


def _as_kits_error(error: Exception, case: Case) -> KitsError:
    if isinstance(error, KitsError):
        return error
    if isinstance(error, MemoryError):
        return VolumeError("does not fit into memory", fix="give the process more memory", path=case.image)
    name = type(error).__name__
    return KitsError(f"unexpected {name}", fix="run again with --debug and report it", path=case.image)


def manifest(
    results: Sequence[CaseResult], model: Model, selection: Selection, seconds: float, exit_code: int
) -> dict[str, Any]:
    """The run as `run.json` records it: cases, model, versions, device and the ladder's steps."""
    return {
        "program": f"kits-submit {__version__}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "engine": selection.engine.name,
        "device": selection.engine.device,
        "stepped_down": list(selection.steps),
        "model": {"file": model.path.name, "sha256": model.sha256, "recipe": asdict(model.recipe)},
        "seconds": round(seconds, 3),
        "exit_code": exit_code,
        "cases": [{key: value for key, value in asdict(result).items() if key != "trace"} for result in results],
    }


def refuse_impossible(grid: Grid, shape: Shape) -> None:
    """A body is no longer than a few metres: a larger field of view is a wrong unit, and would need terabytes."""
    extent_mm = [n * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    if max(extent_mm) > _LONGEST_MM:
        raise VolumeError(
            f"it spans {max(extent_mm):.0f} mm ({grid.shape} voxels of {grid.spacing_mm} mm)",
            fix="correct the spacing in its header: NIfTI affines are in mm",
            path=grid.path,
        )
    if math.prod(shape) > _MOST_VOXELS:
        raise VolumeError(
            f"it has {shape} voxels at the network's spacing", fix="crop it to the abdomen", path=grid.path
        )


@contextmanager
def _stage(result: CaseResult, name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        result.seconds[name] = result.seconds.get(name, 0.0) + time.perf_counter() - started
