"""`Survey`: what must be known of a whole volume before its first plane can be prepared, from a pass of its own.

Networks that crop to the voxels that are not 0, or standardise by a volume's own values, cannot begin before its end is
seen; a cubic spline's overshoot is cut to the values that there are. Unzipping a file once more costs a second or less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kits_submit.types import Shape

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Survey:
    """Of a volume in the network's axes.

    - `box`: [start, stop) along Z, Y, X of the voxels that are not 0; all of it where there is none.
    - `least`, `most`, `mean`, `std`: of the values in the box.
    """

    box: Box
    least: float
    most: float
    mean: float
    std: float

    @classmethod
    def of(cls, planes: Iterable[tuple[int, npt.NDArray[np.float32]]], axis: int, shape: Shape) -> Self:
        """From planes across `axis`, each index once, of a volume of `shape`.

        Zeros outside the box add nothing to the sums, and there are as many as it leaves out.
        """
        rows, columns = (np.zeros(n, np.bool_) for a, n in enumerate(shape) if a != axis)
        along = np.zeros(shape[axis], np.bool_)
        least, most, total, squares, count = math.inf, -math.inf, 0.0, 0.0, 0
        for i, plane in planes:
            there = plane != 0
            found = int(np.count_nonzero(there))
            if not found:
                continue
            along[i] = True
            rows |= there.any(axis=1)
            columns |= there.any(axis=0)
            values = plane if found == plane.size else plane[there]
            least, most = min(least, float(values.min())), max(most, float(values.max()))
            total += float(values.sum(dtype=np.float64))
            squares += float(np.square(values, dtype=np.float64).sum())
            count += found
        if not count:
            whole: Box = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
            return cls(whole, 0.0, 0.0, 0.0, 0.0)
        spans = [_span(rows), _span(columns)]
        spans.insert(axis, _span(along))
        z, y, x = spans
        voxels = math.prod(stop - start for start, stop in spans)
        if count < voxels:
            least, most = min(least, 0.0), max(most, 0.0)
        mean = total / voxels
        return cls((z, y, x), least, most, mean, math.sqrt(max(0.0, squares / voxels - mean * mean)))


def _span(hit: npt.NDArray[np.bool_]) -> tuple[int, int]:
    found = np.flatnonzero(hit)
    return int(found[0]), int(found[-1]) + 1
