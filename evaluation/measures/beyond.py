"""What the official numbers leave out: distances in mm, volume errors and centre distances (`--protocol all`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evaluation.kits import KITS23, Labelset
from evaluation.masks.pair import MaskPair
from evaluation.measures.boxes import Bounds, tiles
from evaluation.measures.overlap import Confusion, Overlap
from evaluation.measures.surface import SurfaceTally
from kits_submit.types import Labels


def measure_beyond(
    pair: MaskPair, boxes: list[Bounds], confusion: Confusion, tallies: Sequence[SurfaceTally]
) -> dict[str, float]:
    """The keys of `all` that no challenge has. The tallies are of `kits.KITS23`, made with distances.

    Distances with both masks empty are 0; with one empty they are the image's diagonal, the longest that it allows, so
    that a missed tumor is the worst value and no reward.
    """
    scores: dict[str, float] = {}
    present = confusion.values("prediction").keys() | confusion.values("truth").keys()
    measured: dict[Labelset, tuple[float, float, float]] = {}
    for target, tally in zip(KITS23, tallies, strict=True):
        overlap = confusion.overlap(target.labels)
        voxels = target.labels & present  # without cysts, mass and tumor are the same and measured once
        if overlap.empty:
            measured[voxels] = (0.0 if overlap.empty == "both" else pair.diagonal_mm,) * 3
        elif voxels not in measured:
            distances = tally.distances()
            centre = centre_distance_mm(pair, boxes, voxels)
            measured[voxels] = distances.hd95_mm, distances.assd_mm, centre
        for name, value in zip(("hd95_mm", "assd_mm", "centre_distance_mm"), measured[voxels], strict=True):
            scores[f"{target.name}_{name}"] = value
        scores[f"{target.name}_volume_error_ml"] = (overlap.prediction - overlap.truth) * pair.voxel_ml
        scores[f"{target.name}_volume_error_percent"] = volume_error_percent(overlap)
    return scores


def volume_error_percent(overlap: Overlap) -> float:
    """100 (|P| - |T|) / |T|: positive for too large a prediction; both empty 0, truth empty NaN."""
    if overlap.truth == 0:
        return 0.0 if overlap.prediction == 0 else float("nan")
    return 100.0 * (overlap.prediction - overlap.truth) / overlap.truth


def centre_distance_mm(pair: MaskPair, boxes: Sequence[Bounds], labels: Labelset) -> float:
    """Distance of the two masks' centres of mass; NaN if one is empty."""
    centres = [_centre(mask, boxes, labels) for mask in (pair.prediction, pair.truth)]
    return float(np.linalg.norm((centres[0] - centres[1]) * np.array(pair.spacing_mm)))


def _centre(mask: Labels, boxes: Sequence[Bounds], labels: Labelset) -> npt.NDArray[np.float64]:
    """Mean voxel index along each axis."""
    sums, voxels = np.zeros(3), 0
    for bounds in tiles(boxes):
        part = mask[tuple(slice(*span) for span in bounds)]
        chosen = np.isin(part, list(labels))
        voxels += int(np.count_nonzero(chosen))
        for axis in range(3):
            lines = chosen.sum(axis=tuple(other for other in range(3) if other != axis))
            sums[axis] += float(lines @ np.arange(bounds[axis][0], bounds[axis][0] + len(lines)))
    return sums / voxels if voxels else np.full(3, np.nan)
