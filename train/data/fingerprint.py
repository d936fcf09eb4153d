"""A labelled dataset -> its Recipe: spacing, HU window, mean and deviation of the foreground (paper section 2.3).

HU are whole numbers, so a histogram of the foreground's HU is exact and small however many voxels there are; of a case,
its labels and a few planes of its image are in memory. Values beyond the histogram (no CT number is) count in its first
or last bin, and HU with a fraction, which a rescaled file may hold, are rounded.

Open in the paper: mean and deviation are taken of the clipped foreground, since the clipped image is what they
standardise; nnU-Net takes them before clipping. Unlike the paper, which resamples first, they are taken of the voxels
as scanned, so that no interpolated HU is counted; a thin-sliced case weighs more. All labelled cases count, held-out
ones too: a window and two numbers, no shape of any case, pass from them into the training.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kits_submit.atomic import replacing
from kits_submit.errors import InputError, KitsError, VolumeError
from kits_submit.files.cases import Case
from kits_submit.files.volume import Planes
from kits_submit.labels import KITS19, LabelSet
from kits_submit.machine.pool import in_processes
from kits_submit.recipe import Recipe
from kits_submit.types import Image, Labels, Shape, Spacing
from train.config import TrainConfig
from train.pairs import content_hashes, open_pair

LOWEST_HU, HIGHEST_HU = -4096, 32767
_LEAST_SLICES = 2
_ENOUGH, _FEW = 1000, 4  # voxels of foreground, of which a CT's noise alone has more different values
Histogram = npt.NDArray[np.int64]  # voxels at LOWEST_HU, LOWEST_HU + 1, .. HIGHEST_HU


@dataclass(frozen=True)
class CaseFacts:
    """One case measured: `sha256` of its image and label files' bytes, `histogram` of its foreground HU.

    - `image_sha256`: of the image's alone. `shape`: voxels along Z, Y, X.
    """

    case_id: str
    sha256: str
    spacing_mm: Spacing
    histogram: Histogram
    image_sha256: str = ""
    shape: Shape = (1, 1, 1)

    @property
    def foreground(self) -> int:
        """Its voxels."""
        return int(self.histogram.sum())


def measure(case: Case, classes: LabelSet, notes: Path | None = None, *, cysts_as_kidney: bool = False) -> CaseFacts:
    """Read one case and measure it.

    Args:
        classes, cysts_as_kidney: as `read_pair` takes them.
        notes: folder where facts are kept by content, so that files already measured are hashed alone.

    Raises:
        InputError: no image or no label.
        VolumeError, GeometryError, LabelError: see `read_pair`; or an image that is no CT where its label is.
        OutputError: `notes` cannot be written.
    """
    sha256, image_sha256 = content_hashes(case)
    note = None if notes is None else notes / f"{sha256}{_read_as(classes, cysts_as_kidney=cysts_as_kidney)}.json"
    facts = None if note is None else _noted(case.case_id, sha256, image_sha256, note)
    if facts is None:
        with open_pair(case, classes, cysts_as_kidney=cysts_as_kidney) as (planes, label):
            grid, histogram = planes.grid, histogram_of(planes, label)
        facts = CaseFacts(case.case_id, sha256, grid.spacing_mm, histogram, image_sha256, grid.shape)
        if note is not None:
            _note(facts, note)
    _refuse_no_ct(facts, case)
    return facts


def measure_all(
    cases: Sequence[Case], classes: LabelSet, notes: Path, jobs: int, *, cysts_as_kidney: bool = False
) -> Iterator[CaseFacts | KitsError]:
    """`measure` of each case, in order, or why it cannot be used; `jobs` at once."""
    return in_processes(partial(_attempt, classes=classes, notes=notes, cysts_as_kidney=cysts_as_kidney), cases, jobs)


def _attempt(case: Case, classes: LabelSet, notes: Path, *, cysts_as_kidney: bool) -> CaseFacts | KitsError:
    try:
        return measure(case, classes, notes, cysts_as_kidney=cysts_as_kidney)
    except KitsError as error:
        return error


def _refuse_no_ct(facts: CaseFacts, case: Case) -> None:
    """Raises: VolumeError: no volume, or no CT."""
    if facts.shape[0] < _LEAST_SLICES:
        fix = "get the whole scan"
        raise VolumeError(f"the image has {facts.shape[0]} slice along Z: no volume", fix=fix, path=case.image)
    _refuse_few_values(facts, case)


def _refuse_few_values(facts: CaseFacts, case: Case) -> None:
    """Raises: VolumeError: the foreground, of some size, has but a few values: a mask, or a window cut to black and
    white."""
    values = np.flatnonzero(facts.histogram) + LOWEST_HU
    if facts.foreground >= _ENOUGH and len(values) <= _FEW:
        told = ", ".join(str(value) for value in values)
        what = f"the image has {len(values)} different values in all of the label ({told}): no CT in HU"
        raise VolumeError(what, fix="give the CT itself, not windowed, not binarised", path=case.image)


def _read_as(classes: LabelSet, *, cysts_as_kidney: bool) -> str:
    """What tells apart the notes of files that are held against other label sets."""
    if cysts_as_kidney:
        return "-cysts-as-kidney"
    return "" if classes == KITS19 else f"-{len(classes)}"


def _noted(case_id: str, sha256: str, image_sha256: str, note: Path) -> CaseFacts | None:
    """What was noted; None where nothing was, or by an older version that noted less."""
    try:
        raw = json.loads(note.read_text())
        histogram = np.zeros(HIGHEST_HU - LOWEST_HU + 1, np.int64)
        histogram[raw["bins"]] = raw["voxels"]
        spacing_mm, shape = tuple(map(float, raw["spacing_mm"])), tuple(map(int, raw["shape"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    if len(spacing_mm) != 3 or len(shape) != 3:
        return None
    return CaseFacts(case_id, sha256, spacing_mm, histogram, image_sha256, shape)


def _note(facts: CaseFacts, note: Path) -> None:
    bins = np.flatnonzero(facts.histogram)
    raw = {
        "spacing_mm": facts.spacing_mm,
        "shape": facts.shape,
        "bins": bins.tolist(),
        "voxels": facts.histogram[bins].tolist(),
    }
    with replacing(note) as stream:
        stream.write(json.dumps(raw).encode())


def histogram_of(planes: Planes, label: Labels) -> Histogram:
    """`foreground_histogram` of a volume that arrives plane by plane; `label`: Z, Y, X."""
    by_plane = np.moveaxis(label, planes.axis, 0)
    histogram: Histogram = np.zeros(HIGHEST_HU - LOWEST_HU + 1, np.int64)
    for i, plane in planes.stream:
        if by_plane[i].any():
            histogram += foreground_histogram(plane, by_plane[i])
    return histogram


def foreground_histogram(image: Image, label: Labels) -> Histogram:
    """Voxels of kidney and tumor at each whole HU."""
    values = np.rint(image[label > 0]).clip(LOWEST_HU, HIGHEST_HU).astype(np.int64)
    return np.bincount(values - LOWEST_HU, minlength=HIGHEST_HU - LOWEST_HU + 1)


def percentile(histogram: Histogram, q: float) -> float:
    """As `numpy.percentile` of the voxels themselves (linear between order statistics)."""
    cumulative = np.cumsum(histogram)
    position = q / 100 * (int(cumulative[-1]) - 1)
    rank = int(position)
    low, high = np.searchsorted(cumulative, [rank, min(rank + 1, int(cumulative[-1]) - 1)], side="right")
    return float(LOWEST_HU + low + (position - rank) * (high - low))


def clipped_moments(histogram: Histogram, clip_hu: tuple[float, float]) -> tuple[float, float]:
    """Mean and standard deviation (of the population) of the clipped voxels."""
    values = np.arange(LOWEST_HU, HIGHEST_HU + 1).clip(*clip_hu)
    weights = histogram / histogram.sum()
    mean = float(weights @ values)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2))


def make_recipe(facts: Sequence[CaseFacts], config: TrainConfig) -> Recipe:
    """The Recipe of measured cases.

    Raises:
        InputError: no foreground in any case, or all of it of one HU.
    """
    histogram: Histogram = np.stack([fact.histogram for fact in facts]).sum(axis=0)
    if np.count_nonzero(histogram) < 2:
        what = "the labels hold no foreground, or foreground of a single HU"
        raise InputError(what, fix=f"train on labelled CT ({config.label_set})")
    low, high = (percentile(histogram, q) for q in config.clip_percentiles)
    if not low < high:
        raise InputError(
            f"nearly all of the labelled voxels have one HU, {low:g}", fix="give CT in HU, not windowed, not binarised"
        )
    mean, std = clipped_moments(histogram, (low, high))
    median = np.median([fact.spacing_mm for fact in facts], axis=0)
    return Recipe(
        spacing_mm=config.spacing_mm or (float(median[0]), float(median[1]), float(median[2])),
        clip_hu=(low, high),
        mean_hu=mean,
        std_hu=std,
        patch=config.inference_patch,
        margin=config.margin,
        labels=config.label_set,
        regions=config.regions,
        provenance={
            "cases": str(len(facts)),
            "data_sha256": hashlib.sha256("".join(sorted(fact.sha256 for fact in facts)).encode()).hexdigest(),
            "config": config.to_json(),
            "commit": git_commit(),
        },
    )


def git_commit() -> str:
    """The commit of the code that runs, "+changes" where files differ from it, "unknown" outside a repository."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--exclude=*",
        "--dirty=+changes",
        "--abbrev=40",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - fixed
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
