"""Surfels: the pieces of a mask's surface, one a voxel corner, and their areas.

A corner has 2x2x2 voxels around it. Which of them are foreground is its neighbour code, one bit a voxel; codes 0 and
255 are no surface. Marching cubes says how much surface lies around a corner of each code.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from kits_submit.types import Spacing

Codes = npt.NDArray[np.uint8]

# Triangle normals by direction: the directions up to sign, and for each basic arrangement of the 8 voxels (drawn as
# its two planes) the summed length of its triangles' normals along each, in eighths. The other codes are mirrored,
# turned or inverted versions of these 14. The values are those of google-deepmind/surface-distance (`lookup_tables.py`,
# Copyright 2018 Google Inc., Apache License 2.0), brought into this form here; tests compare all 256 areas with it.
_DIRECTIONS = ((1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
_BASIC: dict[str, tuple[int, ...]] = {
    "00 00 / 00 00": (0, 0, 0, 0, 0, 0, 0),
    "00 00 / 00 01": (1, 0, 0, 0, 0, 0, 0),
    "00 00 / 00 11": (0, 0, 0, 4, 0, 0, 0),
    "00 00 / 01 10": (2, 0, 0, 0, 0, 0, 0),
    "00 00 / 01 11": (3, 0, 0, 0, 4, 0, 0),
    "00 00 / 11 11": (0, 0, 0, 0, 8, 0, 0),
    "00 01 / 01 10": (3, 0, 0, 0, 0, 0, 0),
    "00 01 / 01 11": (6, 0, 0, 0, 0, 0, 0),
    "00 01 / 10 00": (2, 0, 0, 0, 0, 0, 0),
    "00 01 / 10 01": (1, 4, 0, 0, 0, 0, 0),
    "00 01 / 10 11": (4, 2, 2, 0, 0, 0, 0),
    "00 01 / 11 10": (4, 0, 0, 0, 4, 0, 0),
    "00 11 / 11 00": (0, 0, 0, 8, 0, 0, 0),
    "01 10 / 10 01": (4, 0, 0, 0, 0, 0, 0),
}


def neighbour_codes(mask: npt.NDArray[np.uint8]) -> Codes:
    """The code of every corner that has all its eight voxels in `mask` (0 or 1): one corner fewer than voxels an axis.

    Bits, highest first, are the voxels in C order: 128 is the one before the corner on each axis, 1 the one after.
    """
    codes = mask
    for axis, shift in ((2, np.uint8(1)), (1, np.uint8(2)), (0, np.uint8(4))):
        along = np.moveaxis(codes, axis, 0)
        codes = np.moveaxis((along[:-1] << shift) | along[1:], 0, axis)
    return codes


def borders(codes: Codes) -> npt.NDArray[np.bool_]:
    """The corners that lie on the surface."""
    return (codes + np.uint8(1)) > 1  # 255 wraps to 0


def surfel_areas(spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    """Area in mm2 of the surfel of each of the 256 codes.

    A triangle with normal n, in units of voxels, has area |(n0 s1 s2, n1 s0 s2, n2 s0 s1)| at spacing s.
    """
    s0, s1, s2 = spacing_mm
    faces = np.array([s1 * s2, s0 * s2, s0 * s1])
    areas: npt.NDArray[np.float64] = _weights() @ np.linalg.norm(np.array(_DIRECTIONS) * faces, axis=1) / 8
    return areas


@cache
def _weights() -> npt.NDArray[np.int64]:
    """Summed normal lengths in eighths: 256 codes x 7 directions."""
    weights = np.zeros((256, len(_DIRECTIONS)), np.int64)
    for drawing, lengths in _BASIC.items():
        voxels = np.array([int(bit) for bit in drawing if bit in "01"], np.uint8).reshape(2, 2, 2)
        for axes in permutations(range(3)):
            turned = [lengths[_DIRECTIONS.index(_turned(d, axes))] for d in _DIRECTIONS]
            for flips in product((1, -1), repeat=3):
                other = voxels.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
                code = int(neighbour_codes(np.ascontiguousarray(other))[0, 0, 0])
                weights[code] = weights[255 - code] = turned
    return weights


def _turned(direction: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, int, int]:
    """The direction that becomes `direction` when axes are permuted as `ndarray.transpose(axes)` does."""
    back = [0, 0, 0]
    for new, old in enumerate(axes):
        back[old] = direction[new]
    return back[0], back[1], back[2]
