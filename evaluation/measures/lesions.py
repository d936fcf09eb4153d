"""Lesion detection: which true tumors were found, which predicted ones are real, by size. Matches components.

- A lesion is a 26-connected component of tumor of at least `MIN_LESION_ML`; smaller ones (fragments of the labels) are
  neither to be found nor wrong to predict.
- Lesions match one to one where they overlap by an IoU of at least `MIN_IOU`, so that the summed IoU is highest.
- A lesion's size is its largest diameter: the distance of its two farthest voxel centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.decisions.statistics import lesion_rates
from evaluation.kits import SIZES, TUMOR
from evaluation.measures.boxes import Bounds, MaskPair, tiles
from evaluation.measures.runs import Integers, Runs, components, meeting, runs_of
from kits_submit.types import Spacing

# KiTS19's stray components are at most 0.02 mL and its smallest tumor is 0.82 mL (measured on its 210 label maps).
MIN_LESION_ML = 0.05
MIN_IOU = 0.1  # as picai_eval has it for detection


@dataclass(frozen=True)
class Lesion:
    """- `size`: `t1a`, `t1b` or `t2`. `matched`: it has a partner in the other mask."""

    diameter_mm: float
    matched: bool

    @property
    def size(self) -> str:
        """The T stage that its diameter alone would give."""
        return next(name for name, most_mm in SIZES if self.diameter_mm <= most_mm)


def lesion_scores(pair: MaskPair, boxes: Sequence[Bounds]) -> dict[str, float]:
    """Counts and rates of all lesions and by size, under the `lesion_` keys; NaN for a rate without lesions.

    F1 is (found + right) / (truth + predicted): the usual one over all sizes, where found = right.
    """
    truth, predicted = find_lesions(pair, boxes)
    scores: dict[str, float] = {}
    for suffix, size in (("", None), *((f"_{name}", name) for name, _ in SIZES)):
        true = [lesion for lesion in truth if size in (None, lesion.size)]
        ours = [lesion for lesion in predicted if size in (None, lesion.size)]
        counts = {
            "truth": float(len(true)),
            "found": float(sum(lesion.matched for lesion in true)),
            "predicted": float(len(ours)),
            "right": float(sum(lesion.matched for lesion in ours)),
        }
        rates = {name: float("nan") if rate is None else rate for name, rate in lesion_rates(counts).items()}
        scores |= {f"lesion_{name}{suffix}": value for name, value in (rates | counts).items()}
    return scores


def find_lesions(pair: MaskPair, boxes: Sequence[Bounds]) -> tuple[list[Lesion], list[Lesion]]:
    """The true and the predicted lesions."""
    least = MIN_LESION_ML / pair.voxel_ml
    truth = _Components(runs_of(pair.truth, tiles(boxes), TUMOR), least)
    predicted = _Components(runs_of(pair.prediction, tiles(boxes), TUMOR), least)
    pairs = _matches(truth, predicted)
    return (
        truth.lesions({true for true, _ in pairs}, pair.spacing_mm),
        predicted.lesions({ours for _, ours in pairs}, pair.spacing_mm),
    )


def largest_diameter_mm(runs: Runs, spacing_mm: Spacing) -> float:
    """Distance of the two farthest voxel centres; 0 for a single voxel.

    Only voxels at both ends of a run along each axis can be that far: the others are between two of the mask's own.
    """
    from scipy.spatial.distance import cdist

    points = _hull(_extremes(_extremes(runs.ends, 0), 1) * np.array(spacing_mm))
    return max(float(cdist(points[start : start + 256], points).max()) for start in range(0, len(points), 256))


class _Components:
    """The components of one mask that are large enough to be lesions.

    - `number`: of each run's component. `voxels`: of each large component, by number.
    """

    def __init__(self, runs: Runs, least_voxels: float) -> None:
        self.runs = runs
        self.number = components(runs)
        sizes = np.bincount(self.number, weights=runs.lengths) if len(runs) else np.zeros(0)
        self.voxels = {int(number): int(sizes[number]) for number in np.flatnonzero(sizes >= least_voxels)}

    def lesions(self, matched: set[int], spacing_mm: Spacing) -> list[Lesion]:
        return [
            Lesion(largest_diameter_mm(self.runs[self.number == number], spacing_mm), matched=number in matched)
            for number in self.voxels
        ]


def _matches(truth: _Components, predicted: _Components) -> list[tuple[int, int]]:
    """Pairs of (true, predicted) numbers, one to one, of the highest summed IoU."""
    from scipy.optimize import linear_sum_assignment

    rows = {number: row for row, number in enumerate(truth.voxels)}
    columns = {number: column for column, number in enumerate(predicted.voxels)}
    iou = np.zeros((len(rows), len(columns)))
    for (true, ours), shared in _shared_voxels(truth, predicted).items():
        if true in rows and ours in columns:
            overlap = shared / (truth.voxels[true] + predicted.voxels[ours] - shared)
            iou[rows[true], columns[ours]] = overlap if overlap >= MIN_IOU else 0.0
    numbers = list(rows), list(columns)
    chosen = zip(*linear_sum_assignment(-iou), strict=True)
    return [(numbers[0][row], numbers[1][column]) for row, column in chosen if iou[row, column] > 0]


def _shared_voxels(truth: _Components, predicted: _Components) -> dict[tuple[int, int], int]:
    """Voxels in both, by pair of component numbers."""
    here, there = meeting(truth.runs, predicted.runs)
    last = np.minimum(truth.runs.last[here], predicted.runs.last[there])
    first = np.maximum(truth.runs.first[here], predicted.runs.first[there])
    numbers = np.stack((truth.number[here], predicted.number[there]), axis=1)
    pairs, of_pair = np.unique(numbers, axis=0, return_inverse=True)
    voxels = np.bincount(of_pair.ravel(), weights=last - first + 1, minlength=len(pairs))
    return {(int(true), int(ours)): int(n) for (true, ours), n in zip(pairs, voxels, strict=True)}


def _hull(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The corners of the points' convex hull, two of which are the farthest; all points where they are few or flat."""
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 500:
        return points
    try:
        return points[ConvexHull(points).vertices]
    except QhullError:
        return points


def _extremes(points: Integers, axis: int) -> Integers:
    """The first and last point on each line along an axis."""
    others = [other for other in range(3) if other != axis]
    ordered = points[np.lexsort((points[:, axis], points[:, others[0]], points[:, others[1]]))]
    new_line = np.any(np.diff(ordered[:, others], axis=0) != 0, axis=1)
    first = np.concatenate(([True], new_line))
    last = np.concatenate((new_line, [True]))
    return ordered[first | last]
