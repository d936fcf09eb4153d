"""Lesion detection: which true tumors were found, which predicted ones are real, by size. Matches components.

- A lesion is a 26-connected component of tumor of at least `Rules.least_ml`; smaller ones (fragments of the labels) are
  neither to be found nor wrong to predict.
- Lesions match one to one where they overlap by an IoU of at least `Rules.iou`, so that the summed IoU is highest.
- A lesion's size is its largest diameter: the distance of its two farthest voxel centres. A predicted lesion that has a
  partner counts in its partner's size, as COCO's areas have it; one without in its own. So each size has as many found
  as right, and its F1 is that of its own true lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.kits import SIZES, TUMOR
from evaluation.masks.pair import MaskPair
from evaluation.measures.boxes import Bounds, tiles
from evaluation.measures.rates import lesion_rates
from evaluation.measures.runs import Integers, Runs, components, meeting, runs_of
from evaluation.report import Lesion
from kits_submit.types import Spacing

# KiTS19's stray components are at most 0.02 mL and its smallest tumor is 0.82 mL (measured on its 210 label maps).
MIN_LESION_ML = 0.05
MIN_IOU = 0.1  # as picai_eval has it for detection


@dataclass(frozen=True)
class Rules:
    """- `iou`: the least with which two lesions match. `least_ml`: a smaller component is no lesion."""

    iou: float = MIN_IOU
    least_ml: float = MIN_LESION_ML


DEFAULT_RULES = Rules()


def size_of(diameter_mm: float) -> str:
    """The T stage that a diameter alone would give: `t1a`, `t1b` or `t2`."""
    return next(name for name, most_mm in SIZES if diameter_mm <= most_mm)


def lesion_scores(lesions: Sequence[Lesion]) -> dict[str, float]:
    """Counts and rates of all lesions and by size, under the `lesion_` keys; NaN for a rate without lesions.

    Worked: one prediction of 60 mm covers two true lesions of 30 mm and matches one of them. T1a: 2 true, 1 found,
    1 predicted, F1 2 / 3. T1b: nothing true, nothing predicted, F1 undefined.
    """
    scores: dict[str, float] = {}
    for suffix, size in (("", None), *((f"_{name}", name) for name, _ in SIZES)):
        chosen = [lesion for lesion in lesions if size in (None, lesion.size)]
        true = [lesion for lesion in chosen if lesion.side == "truth"]
        counts = {
            "truth": float(len(true)),
            "found": float(sum(lesion.partner is not None for lesion in true)),
            "predicted": float(len(chosen) - len(true)),
        }
        overlaps = {"iou": sum(lesion.iou or 0.0 for lesion in true)}
        rates = {name: float("nan") if r is None else r for name, r in lesion_rates(counts | overlaps).items()}
        scores |= {f"lesion_{name}{suffix}": value for name, value in (rates | counts).items()}
    return scores


def find_lesions(pair: MaskPair, boxes: Sequence[Bounds], rules: Rules = DEFAULT_RULES) -> list[Lesion]:
    """The true lesions, then the predicted ones, each with its partner."""
    least = rules.least_ml / pair.voxel_ml
    truth = _Components(runs_of(pair.truth, tiles(boxes), TUMOR), least)
    predicted = _Components(runs_of(pair.prediction, tiles(boxes), TUMOR), least)
    shared = _shared_voxels(truth, predicted)
    pairs = _matches(truth, predicted, shared, rules.iou)
    true_shapes, our_shapes = (side.shapes(pair.spacing_mm) for side in (truth, predicted))
    numbers = [{component: place for place, component in enumerate(side.voxels, 1)} for side in (truth, predicted)]
    found: dict[tuple[str, int], tuple[int, float, float, float]] = {}
    for true, ours in pairs:
        both, total = shared[true, ours], truth.voxels[true] + predicted.voxels[ours]
        distance_mm = float(np.linalg.norm((true_shapes[true][1] - our_shapes[ours][1]) * np.array(pair.spacing_mm)))
        of_both = both / (total - both), 2 * both / total, distance_mm
        found["truth", true] = numbers[1][ours], *of_both
        found["prediction", ours] = numbers[0][true], *of_both
    true_sizes = {true: size_of(true_shapes[true][0]) for true in truth.voxels}
    our_sizes = {ours: true_sizes[true] for true, ours in pairs}
    lesions = []
    for side, parts, shapes, sizes, number in (
        ("truth", truth, true_shapes, true_sizes, numbers[0]),
        ("prediction", predicted, our_shapes, our_sizes, numbers[1]),
    ):
        for component, voxels in parts.voxels.items():
            diameter_mm, centre = shapes[component]
            partner, iou, dice, distance = found.get((side, component), (None, None, None, None))
            size = sizes.get(component, size_of(diameter_mm))
            volume_ml, place = voxels * pair.voxel_ml, pair.index_zyx(centre.tolist())
            lesions.append(
                Lesion(side, number[component], size, volume_ml, diameter_mm, place, partner, iou, dice, distance)
            )
    return lesions


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

    def shapes(self, spacing_mm: Spacing) -> dict[int, tuple[float, npt.NDArray[np.float64]]]:
        """By number, the largest diameter in mm and the mean index, in memory order."""
        found = {}
        for number, voxels in self.voxels.items():
            runs = self.runs[self.number == number]
            centre = (runs.lengths @ runs.middles) / voxels
            found[number] = largest_diameter_mm(runs, spacing_mm), centre
        return found


def _matches(
    truth: _Components, predicted: _Components, shared: dict[tuple[int, int], int], least_iou: float
) -> list[tuple[int, int]]:
    """Pairs of (true, predicted) numbers, one to one, of the highest summed IoU."""
    from scipy.optimize import linear_sum_assignment

    rows = {number: row for row, number in enumerate(truth.voxels)}
    columns = {number: column for column, number in enumerate(predicted.voxels)}
    iou = np.zeros((len(rows), len(columns)))
    for (true, ours), both in shared.items():
        if true in rows and ours in columns:
            overlap = both / (truth.voxels[true] + predicted.voxels[ours] - both)
            iou[rows[true], columns[ours]] = overlap if overlap >= least_iou else 0.0
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
