"""Naive scoring to compare with: every corner by itself, every distance by hand, components by flood fill."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from evaluation.measures.surfels import surfel_areas

Index = tuple[int, int, int]


def overlap(prediction: np.ndarray, truth: np.ndarray, labels: Sequence[int]) -> tuple[float, float, float]:
    """Dice, recall, precision from sets of voxels; both empty 1, one empty 0."""
    ours, theirs = ({i for i in np.ndindex(m.shape) if m[i] in labels} for m in (prediction, truth))
    if not ours or not theirs:
        return (float(ours == theirs),) * 3
    both = len(ours & theirs)
    return 2 * both / (len(ours) + len(theirs)), both / len(theirs), both / len(ours)


def surfels(mask: np.ndarray) -> dict[Index, int]:
    """Corner to neighbour code, of each corner whose eight voxels are not all alike; outside is background."""
    found = {}
    for corner in np.ndindex(*(n + 1 for n in mask.shape)):
        code = 0
        for step in itertools.product((-1, 0), repeat=3):
            voxel = tuple(c + s for c, s in zip(corner, step, strict=True))
            inside = all(0 <= v < n for v, n in zip(voxel, mask.shape, strict=True))
            code = 2 * code + bool(inside and mask[voxel])
        if 0 < code < 255:
            found[corner] = code
    return found


def distances(mask: np.ndarray, other: np.ndarray, spacing: Sequence[float]) -> list[tuple[float, float]]:
    """(distance in mm, area in mm2) of each surfel of `mask`, to all surfels of `other` in turn."""
    areas = surfel_areas(tuple(spacing))
    there = np.array(list(surfels(other)), float) * spacing
    return [
        (float(np.sqrt(((there - np.array(corner) * spacing) ** 2).sum(axis=1)).min()), float(areas[code]))
        for corner, code in surfels(mask).items()
    ]


def surface_dice(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    if not prediction.any() or not truth.any():
        return float(not prediction.any() and not truth.any())
    both = distances(prediction, truth, spacing) + distances(truth, prediction, spacing)
    return sum(area for mm, area in both if mm <= tolerance) / sum(area for _, area in both)


def assd(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    both = distances(prediction, truth, spacing) + distances(truth, prediction, spacing)
    return sum(mm * area for mm, area in both) / sum(area for _, area in both)


def hd95(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    return max(_percentile(distances(a, b, spacing)) for a, b in ((prediction, truth), (truth, prediction)))


def _percentile(pairs: list[tuple[float, float]]) -> float:
    whole = sum(area for _, area in pairs)
    so_far = 0.0
    for mm, area in sorted(pairs):
        so_far += area
        if so_far / whole >= 0.95 - 1e-12:
            return mm
    return max(pairs)[0]


def components(mask: np.ndarray) -> list[set[Index]]:
    """26-connected, by flood fill."""
    left = {index for index in np.ndindex(mask.shape) if mask[index]}
    found = []
    while left:
        border, part = [left.pop()], set()
        while border:
            voxel = border.pop()
            part.add(voxel)
            near = {
                tuple(v + s for v, s in zip(voxel, step, strict=True))
                for step in itertools.product((-1, 0, 1), repeat=3)
            }
            border += near & left
            left -= near
        found.append(part)
    return found


def diameter(mask: np.ndarray, spacing: Sequence[float]) -> float:
    points = np.argwhere(mask) * spacing
    return max(float(np.linalg.norm(a - b)) for a in points for b in points)
