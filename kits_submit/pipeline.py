"""One case from file to file, and a batch of them: the way of the data as one readable function.

volume -> grid -> intensity -> patches, engine, stitch -> grid (back) -> postprocess -> submission
"""

from __future__ import annotations

import math
import platform
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kits_submit import __version__
from kits_submit.cases import Case
from kits_submit.engine.model import Model
from kits_submit.engine.protocol import Engine
from kits_submit.engine.select import Selection
from kits_submit.errors import InputError, KitsError, VolumeError
from kits_submit.grid import resample, restore_labels, target_shape
from kits_submit.intensity import air, standardise
from kits_submit.memory import peak_mb, reset_peak
from kits_submit.postprocess import refine, volume_ml
from kits_submit.recipe import Recipe
from kits_submit.stitch import stitch
from kits_submit.submission import write_prediction
from kits_submit.types import KIDNEY, TUMOR, Labels, Shape
from kits_submit.volume import Grid, Volume, read_volume

_LIBRARIES = ("numpy", "scipy", "nibabel")
_LONGEST_MM = 4000.0
_MOST_VOXELS = 1 << 30


@dataclass
class CaseResult:
    """What became of one case.

    - `status`: `done` or `failed`; `error` and `exit_code` tell why it failed.
    - `seconds`: wall time by stage; `peak_mb`: peak resident memory while it ran.
    - `volume_ml`: predicted volume by class name.
    - `trace`: where it failed, for `--debug`; never in the manifest.
    """

    case: str
    status: str = "done"
    error: str = ""
    exit_code: int = 0
    prediction: str | None = None
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    orientation: str = ""
    patches: int = 0
    volume_ml: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0
    trace: str = ""

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


class Watcher:
    """What a batch tells while it runs; each hook does nothing here."""

    def case_started(self, case: str) -> None: ...

    def patches_done(self, done: int, total: int) -> None: ...

    def case_ended(self, result: CaseResult) -> None: ...


def segment(volume: Volume, recipe: Recipe, engine: Engine, result: CaseResult, watcher: Watcher) -> Labels:
    """ZYX labels of a volume on its own grid; fills in the stages' seconds and the patch count of `result`."""
    grid = volume.grid
    with _stage(result, "resample"):
        shape = target_shape(grid.shape, grid.spacing_mm, recipe.spacing_mm)
        refuse_impossible(grid, shape)
        image = resample(volume.voxels, shape)
        standardise(image, recipe)

    def on_patches(done: int, total: int) -> None:
        result.patches = total
        watcher.patches_done(done, total)

    with _stage(result, "network"):
        batch_size = max(1, engine.batch_voxels // int(np.prod(recipe.patch)))
        probabilities = stitch(image, recipe, engine, outside=air(recipe), batch_size=batch_size, on_patches=on_patches)
    with _stage(result, "restore"):
        labels = restore_labels(probabilities, grid.shape)
    with _stage(result, "refine"):
        return refine(labels, grid.spacing_mm, recipe.refinement)


def run_case(case: Case, output: Path, recipe: Recipe, engine: Engine, result: CaseResult, watcher: Watcher) -> None:
    """Segment one case, write its mask and fill in `result`.

    Raises:
        KitsError: whatever this case fails for; nothing of it is written then.
    """
    if case.image is None:
        raise InputError("no imaging.nii.gz in it", fix="add the image, or remove the folder", path=case.folder)
    with _stage(result, "read"):
        volume = read_volume(case.image)
    grid = volume.grid
    result.shape, result.spacing_mm, result.orientation = grid.shape, grid.spacing_mm, grid.orientation
    labels = segment(volume, recipe, engine, result, watcher)
    with _stage(result, "write"):
        result.prediction = write_prediction(output, case.case_id, labels, grid).name
    for name, number in (("kidney", KIDNEY), ("tumor", TUMOR)):
        result.volume_ml[name] = volume_ml(int(np.count_nonzero(labels == number)), grid.spacing_mm)


def run_cases(
    cases: Sequence[Case], output: Path, model: Model, engine: Engine, watcher: Watcher | None = None
) -> list[CaseResult]:
    """Each case in turn; one that fails, for whatever reason, is recorded and the others go on."""
    watcher = watcher or Watcher()
    results = []
    for case in cases:
        watcher.case_started(case.case_id)
        result = CaseResult(case.case_id)
        reset_peak()
        try:
            run_case(case, output, model.recipe, engine, result, watcher)
        except Exception as error:
            told = _as_kits_error(error, case)
            result.status, result.error, result.exit_code = "failed", str(told), told.exit_code
            result.trace = "".join(traceback.format_exception(error))
        result.peak_mb = peak_mb()
        results.append(result)
        watcher.case_ended(result)
    return results


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
        result.seconds[name] = round(time.perf_counter() - started, 4)
