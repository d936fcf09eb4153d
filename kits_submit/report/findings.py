"""What there is to jump to in a case: each lesion, and each place where prediction and label differ. Reads no file.

A difference one voxel thick around a whole organ is one component, and the largest; what a reader looks for is the
tumor that was missed. So differences are ranked by what is left of them when their rim is taken off within each slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kits_submit.labels import LabelSet, volume_ml
from kits_submit.types import Array, Labels, Mask, Shape, Spacing

LEAST_ML = 0.05  # fragments of KiTS's labels are at most 0.02 mL, as `evaluation.measures.lesions` has it
MOST = 12  # listed of a kind

Kind = Literal["prediction", "label", "missed", "false", "confused"]


@dataclass(frozen=True)
class Finding:
    """- `what`: in words. `at`: a voxel in it (Z, Y, X). `diameter_mm`: of its two farthest voxels; None for errors."""

    what: str
    kind: Kind
    ml: float
    at: Shape
    diameter_mm: float | None = None


def lesions_of(
    mask: Labels, labels: LabelSet, spacing_mm: Spacing, of: Literal["prediction", "label"]
) -> list[Finding]:
    """Each mass, then each kidney, largest first."""
    voxel_ml = volume_ml(1, spacing_mm)
    found = []
    for group in (labels.mass, tuple(n for n in labels.foreground if n not in labels.mass)):
        of_group = [
            Finding(labels.names[n], of, size * voxel_ml, at, _diameter_mm(voxels, spacing_mm))
            for n in group
            for size, at, voxels in _components(mask == n, LEAST_ML / voxel_ml)
        ]
        found += sorted(of_group, key=lambda finding: -finding.ml)[:MOST]
    return found


def errors_of(predicted: Labels, truth: Labels, labels: LabelSet, spacing_mm: Spacing) -> list[Finding]:
    """Each place where the two differ, by what is called what; largest core first."""
    voxel_ml = volume_ml(1, spacing_mm)
    wrong = predicted != truth
    box = _box(wrong)
    if box is None:
        return []
    pairs = predicted[box].astype(np.int32) * len(labels) + truth[box]
    pairs[~wrong[box]] = 0
    found: list[Finding] = []
    thin: list[Finding] = []  # where nothing is left without the rim
    for pair in (int(number) for number in np.unique(pairs) if number):
        mask = pairs == pair
        core = _without_rim(mask)
        what, kind = _told(*divmod(pair, len(labels)), labels)
        for _, at, voxels in _components(core if core.any() else mask, 1):
            size = _grown(voxels, mask)
            place = tuple(int(a + part.start) for a, part in zip(at, box, strict=True))
            one = Finding(what, kind, size * voxel_ml, (place[0], place[1], place[2]))
            (found if core.any() else thin).append(one)
    ranked = [one for group in (found, thin) for one in sorted(group, key=lambda finding: -finding.ml)]
    return [one for one in ranked if one.ml >= LEAST_ML][:MOST] or ranked[:1]


def error_kinds(predicted: Array, truth: Array) -> dict[Kind, Mask]:
    """Masks of false, missed and confused (one class called another) voxels."""
    wrong = predicted != truth
    return {
        "false": wrong & (truth == 0),
        "missed": wrong & (predicted == 0),
        "confused": wrong & (predicted > 0) & (truth > 0),
    }


def _told(predicted: int, truth: int, labels: LabelSet) -> tuple[str, Kind]:
    if truth == 0:
        return f"false {labels.names[predicted]}", "false"
    if predicted == 0:
        return f"missed {labels.names[truth]}", "missed"
    return f"{labels.names[truth]} called {labels.names[predicted]}", "confused"


def _components(mask: Mask, least: float) -> Iterator[tuple[int, Shape, Array]]:
    """(voxels, the voxel next to its centre, all voxels' Z, Y, X), of the `MOST` largest of at least `least` voxels."""
    import cc3d

    box = _box(mask)
    if box is None:
        return
    numbers: Array = cc3d.largest_k(mask[box], k=MOST, connectivity=26)
    sizes = np.bincount(numbers.ravel())
    boxes = cc3d.statistics(numbers)["bounding_boxes"]
    for number in sorted(range(1, len(sizes)), key=lambda n: -sizes[n]):
        if sizes[number] < least or not sizes[number]:
            continue
        inner = boxes[number]
        offset = [part.start + outer.start for part, outer in zip(inner, box, strict=True)]
        voxels = np.argwhere(numbers[inner] == number) + offset
        centre = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        yield int(sizes[number]), (int(centre[0]), int(centre[1]), int(centre[2])), voxels


def _diameter_mm(voxels: Array, spacing_mm: Spacing) -> float:
    """Distance of the two farthest voxel centres, looked for among those farthest along 64 directions: exact to 1 %."""
    new_row = np.any(np.diff(voxels[:, :2], axis=0) != 0, axis=1)
    ends = np.concatenate(([True], new_row)) | np.concatenate((new_row, [True]))
    points = voxels[ends] * np.array(spacing_mm)
    directions = np.random.default_rng(0).normal(size=(64, 3))
    along = points @ directions.T
    few = points[np.unique(np.concatenate((along.argmax(axis=0), along.argmin(axis=0))))]
    return float(np.sqrt(((few[:, None] - few[None]) ** 2).sum(axis=-1)).max())


def _box(mask: Mask) -> tuple[slice, slice, slice] | None:
    found = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(hit):
            return None
        found.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return found[0], found[1], found[2]


def _without_rim(mask: Mask) -> Mask:
    """The voxels whose four neighbours in their slice are in the mask, too."""
    core = np.zeros_like(mask)
    core[:, 1:-1, 1:-1] = (
        mask[:, 1:-1, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 2:, 1:-1] & mask[:, 1:-1, :-2] & mask[:, 1:-1, 2:]
    )
    return core


def _grown(core: Array, mask: Mask) -> int:
    """How many voxels of the mask are the core's, or a neighbour of one in its slice."""
    low = np.maximum(core.min(axis=0) - (0, 1, 1), 0)
    box = tuple(slice(int(a), int(b) + 2) for a, b in zip(low, core.max(axis=0), strict=True))
    near: Mask = np.zeros(mask[box].shape, np.bool_)
    z = core[:, 0] - low[0]
    for down, right in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        y, x = core[:, 1] + down - low[1], core[:, 2] + right - low[2]
        inside = (y >= 0) & (y < near.shape[1]) & (x >= 0) & (x < near.shape[2])
        near[z[inside], y[inside], x[inside]] = True
    return int((near & mask[box]).sum())
