"""A plane of a mask as closed polygons along its voxels' own edges, holes joined to what they lie in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.bool_]
Point = tuple[float, float]  # column, row; voxel centres are whole numbers
Points = npt.NDArray[np.float64]
_CHANNEL = 0.25  # of a voxel below its upper edge, where no centre is
_Way = tuple[int, int]  # rows, columns
_SIDES: tuple[
    tuple[_Way, tuple[slice, slice], _Way], ...
] = (  # along an edge, the neighbour beyond it, where it begins
    ((0, 1), (slice(None, -2), slice(1, -1)), (0, 0)),
    ((1, 0), (slice(1, -1), slice(2, None)), (0, 1)),
    ((0, -1), (slice(2, None), slice(1, -1)), (1, 1)),
    ((-1, 0), (slice(1, -1), slice(None, -2)), (1, 0)),
)


def outlines(inside: Plane) -> list[Points]:
    """Closed polygons of (column, row) corners around the voxels (row, column) that are set.

    By the even-odd rule the centres inside are those of the set voxels; voxels that touch at a corner alone are apart.
    A hole is joined to the polygon that it lies in by a channel of no width (PS3.3 C.8.8.6.3).
    """
    loops = list(_loops(inside))
    outer = [loop for loop in loops if _area(loop) > 0]
    for hole in sorted((loop for loop in loops if _area(loop) < 0), key=min):
        _join(outer, hole, inside)
    return [np.array(loop, np.float64) for loop in outer]


def _loops(inside: Plane) -> Iterator[list[Point]]:
    """Clockwise around what is set, counterclockwise around a hole."""
    padded = np.pad(inside, 1)
    ahead: dict[_Way, list[_Way]] = {}
    for way, beyond, (r0, c0) in _SIDES:
        for r, c in np.argwhere(inside & ~padded[beyond]).tolist():
            ahead.setdefault((r + r0, c + c0), []).append(way)
    while ahead:
        yield _loop(ahead)


def _loop(ahead: dict[_Way, list[_Way]]) -> list[Point]:
    """Take one closed way out of `ahead`, the directions that lead on from a corner: of two, the one to the right."""
    first = here = min(ahead)
    corners: list[Point] = []
    came: _Way | None = None
    while came is None or here != first:
        ways = ahead[here]
        right = None if came is None else (came[1], -came[0])
        way = right if right in ways else ways[0]
        ways.remove(way)
        if not ways:
            del ahead[here]
        if way != came:
            corners.append((here[1] - 0.5, here[0] - 0.5))
        here, came = (here[0] + way[0], here[1] + way[1]), way
    return corners


def _join(outer: list[list[Point]], hole: list[Point], inside: Plane) -> None:
    """Insert a hole into the polygon to the left of its first column, along a row of set voxels."""
    x, y = min(hole)
    row = inside[int(y + 0.5)]
    unset = np.flatnonzero(~row[: int(x + 0.5)])
    reached = (int(unset[-1]) + 1 if unset.size else 0) - 0.5
    level = y + _CHANNEL
    begin = _crossing(hole, x, level)
    assert begin is not None, "a hole's first column has an edge"
    channel = [(reached, level), (x, level), *hole[begin + 1 :], *hole[: begin + 1], (x, level), (reached, level)]
    for loop in outer:
        at = _crossing(loop, reached, level)
        if at is not None:
            loop[at + 1 : at + 1] = channel
            return


def _crossing(loop: list[Point], x: float, level: float) -> int | None:
    """The corner from which an edge along column `x` passes `level`."""
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise([*loop, loop[0]])):
        if x0 == x1 == x and min(y0, y1) < level < max(y0, y1):
            return i
    return None


def _area(loop: list[Point]) -> float:
    """Twice a polygon's area, positive where it goes clockwise as rows run down."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*loop, loop[0]]))
