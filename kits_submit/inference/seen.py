"""Whether the values of a volume are HU, from a sample of them taken as they pass. Warns, never refuses.

The limits are such that no scan trips them for how it was cut or windowed: clipped to -125..275 HU, cropped to the
body, without air around it. Fat, which is in every abdomen, lies at -100 HU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Plane = tuple[int, npt.NDArray[np.float32]]

_PLANES, _ROWS = 32, 128  # a sample has at least as many of a larger volume
_LEAST_HU = -50.0
_DENSE_HU, _MOST_DENSE = 600.0, 0.2  # bone and metal; an arm of 60 kg has no fifth of it
_SOFT_HU, _LEAST_SOFT = (-150.0, 250.0), 0.005
_LARGEST_LABEL = 10


class Seen:
    """A sample of a volume's values, added to by the thread that reads it, asked by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._least, self._most = np.inf, -np.inf
        self._values = self._dense = self._soft = 0
        self._whole = True
        self.complete = False

    def watch(self, planes: Iterator[Plane], count: int) -> Iterator[Plane]:
        """The planes, some of them looked at."""
        step = max(1, count // _PLANES)
        for i, plane in planes:
            if i % step == 0:
                self._add(plane[:: max(1, plane.shape[0] // _ROWS), :: max(1, plane.shape[1] // _ROWS)])
            yield i, plane
        self.complete = True

    def _add(self, values: npt.NDArray[np.float32]) -> None:
        with self._lock:
            self._least, self._most = min(self._least, float(values.min())), max(self._most, float(values.max()))
            self._values += values.size
            self._dense += int(np.count_nonzero(values > _DENSE_HU))
            self._soft += int(np.count_nonzero((values >= _SOFT_HU[0]) & (values <= _SOFT_HU[1])))
            self._whole = self._whole and self._most <= _LARGEST_LABEL and bool((values == np.rint(values)).all())

    def note(self) -> str:
        """What is odd about the values; empty where nothing is, or where they are not all there yet."""
        return self.so_far() if self.complete else ""

    def so_far(self) -> str:
        """What would be odd about them if no others came."""
        with self._lock:
            return self._odd()

    def _odd(self) -> str:
        if not self._values:
            return ""
        span = f"least {self._least:g}, most {self._most:g}"
        if self._least == self._most:
            return f"every voxel looked at is {self._least:g}: is it the image?"
        if self._least >= 0 and self._whole:
            return f"it holds whole numbers from {self._least:g} to {self._most:g} alone: is it a label map?"
        return self._of_shares(span)

    def _of_shares(self, span: str) -> str:
        dense, soft = self._dense / self._values, self._soft / self._values
        if self._least > _LEAST_HU:
            stored = "; stored +1024? --hu-offset -1024" if dense > _MOST_DENSE else ""
            return f"no voxel is under {_LEAST_HU:g} HU ({span}): is it in HU?{stored}"
        if dense > _MOST_DENSE:
            return f"{dense:.0%} of the voxels are over {_DENSE_HU:g} HU, denser than a body is ({span}): is it in HU?"
        if soft < _LEAST_SOFT:
            return f"{soft:.1%} of the voxels are as dense as soft tissue ({span}): is it in HU?"
        return ""
