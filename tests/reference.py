"""Slow, plain implementations to compare with: written from the definitions, sharing no code with the package."""

from __future__ import annotations

import itertools

import numpy as np


def trilinear(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Edge-aligned trilinear resampling in float64, corner by corner: voxel i of n sits at (i + 0.5) N / n - 0.5."""
    out = np.zeros(shape)
    for index in itertools.product(*(range(n) for n in shape)):
        value = 0.0
        places = [
            min(max((i + 0.5) * N / n - 0.5, 0), N - 1) for i, n, N in zip(index, shape, image.shape, strict=True)
        ]
        for corner in itertools.product((0, 1), repeat=3):
            weight, voxel = 1.0, []
            for place, upper, N in zip(places, corner, image.shape, strict=True):
                low = int(np.floor(place))
                weight *= (place - low) if upper else 1 - (place - low)
                voxel.append(min(low + upper, N - 1))
            value += weight * float(image[tuple(voxel)])
        out[index] = value
    return out


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * int(np.count_nonzero(a & b)) / (int(np.count_nonzero(a)) + int(np.count_nonzero(b)))


def components(mask: np.ndarray, connectivity: int) -> list[set[tuple[int, int, int]]]:
    """Connected components by flood fill."""
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=3)
        if any(step) and (connectivity == 26 or sum(map(abs, step)) == 1)
    ]
    left = {tuple(int(i) for i in voxel) for voxel in np.argwhere(mask)}
    found = []
    while left:
        component, queue = set(), [left.pop()]
        while queue:
            voxel = queue.pop()
            component.add(voxel)
            for step in steps:
                near = (voxel[0] + step[0], voxel[1] + step[1], voxel[2] + step[2])
                if near in left:
                    left.remove(near)
                    queue.append(near)
        found.append(component)
    return found


def reassign_small(
    labels: np.ndarray, which: int, threshold_ml: float, spacing_mm: tuple[float, float, float], inclusive: bool = False
) -> np.ndarray:
    """Give each small component of a class to the class it shares most face area with, voxel by voxel."""
    out = labels.copy()
    for component in components(labels == which, 6 if which == 0 else 26):
        volume = len(component) * np.prod(spacing_mm) / 1000
        if which == 0 and (0, 0, 0) in component:  # the outside, of a padded array
            continue
        if volume > threshold_ml or (volume == threshold_ml and not inclusive):
            continue
        area = [0.0, 0.0, 0.0]
        for voxel in component:
            for axis, sign in itertools.product(range(3), (-1, 1)):
                near = list(voxel)
                near[axis] += sign
                if 0 <= near[axis] < labels.shape[axis] and tuple(near) not in component:
                    area[labels[tuple(near)]] += np.prod([s for a, s in enumerate(spacing_mm) if a != axis])
        area[which] = -1
        for voxel in component:
            out[voxel] = int(np.argmax(area))
    return out
