"""Where the foreground of two masks is: disjoint tiles that hold all of it, however far apart its parts lie.

Two stray voxels in opposite corners cost two tiles of a voxel each, not the bounding box of everything.
Axes here are those of memory, slowest first: areas and distances do not depend on the axes' order or direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from evaluation.masks.pair import MaskPair
from kits_submit.types import Labels, Mask, Shape

BLOCK = 16  # voxels an axis; parts closer than this share a tile
TILE_VOXELS = 2 << 20  # bounds the working memory, whatever the prediction looks like

Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # [start, stop) an axis


def padded(array: Labels, bounds: Bounds) -> Labels:
    """A contiguous copy of a part, zero where the bounds leave the array."""
    inside = tuple(slice(max(start, 0), min(stop, n)) for (start, stop), n in zip(bounds, array.shape, strict=True))
    part = np.zeros([stop - start for start, stop in bounds], np.uint8)
    target = tuple(slice(s.start - b[0], s.stop - b[0]) for s, b in zip(inside, bounds, strict=True))
    part[target] = array[inside]
    return part


def extent(mask: npt.NDArray[np.uint8] | Mask) -> Bounds | None:
    """The bounding box of what is not zero; None where all is."""
    bounds = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if hit.size == 0:
            return None
        bounds.append((int(hit[0]), int(hit[-1]) + 1))
    return bounds[0], bounds[1], bounds[2]


def foreground_boxes(pair: MaskPair) -> list[Bounds]:
    """Bounding boxes of voxels, at least one voxel apart, that hold every voxel not 0 in either mask."""
    tight = []
    for box in _separate_boxes(_occupied_blocks(pair)):
        bounds = _clip(tuple((start * BLOCK, stop * BLOCK) for start, stop in box), pair.shape)
        view = tuple(slice(*span) for span in bounds)
        found = extent(np.maximum(pair.prediction[view], pair.truth[view]))
        if found is not None:
            tight.append(_shift(found, bounds))
    return tight


def tiles(boxes: Iterable[Bounds]) -> Iterator[Bounds]:
    """Bounds of voxel corners [start, stop), disjoint, that hold each corner of every box once.

    Corner i lies between voxels i - 1 and i, so a box of voxels [a, b) has corners [a, b + 1). A box of more than
    `TILE_VOXELS` is cut along the slowest axis.
    """
    for box in boxes:
        (z0, z1), (y0, y1), (x0, x1) = box
        rows = max(1, TILE_VOXELS // ((y1 + 1 - y0) * (x1 + 1 - x0)))
        for start in range(z0, z1 + 1, rows):
            yield (start, min(start + rows, z1 + 1)), (y0, y1 + 1), (x0, x1 + 1)


def _occupied_blocks(pair: MaskPair) -> Mask:
    shape = pair.shape
    starts = [np.arange(0, n, BLOCK) for n in shape]
    blocks = np.zeros([len(start) for start in starts], np.bool_)
    for number, start in enumerate(starts[0]):
        flat = np.zeros(shape[1:], np.uint8)
        for mask in (pair.prediction, pair.truth):
            if any(mask.strides):
                np.maximum(flat, np.maximum.reduce(mask[start : start + BLOCK], axis=0), out=flat)
        rows = np.maximum.reduceat(flat, starts[1], axis=0)
        blocks[number] = np.maximum.reduceat(rows, starts[2], axis=1) > 0
    return blocks


def _separate_boxes(blocks: Mask) -> list[Bounds]:
    """Boxes of blocks, at least a block apart, that hold every occupied one: fill bounding boxes until none joins."""
    from scipy.ndimage import find_objects, label

    while True:
        numbered, _ = label(blocks, np.ones((3, 3, 3)))
        boxes = [_of_slices(found) for found in find_objects(numbered)]
        volumes = [int(np.prod([stop - start for start, stop in box])) for box in boxes]
        if sum(volumes) == np.count_nonzero(blocks):
            return boxes
        for (z0, z1), (y0, y1), (x0, x1) in boxes:
            blocks[z0:z1, y0:y1, x0:x1] = True


def _shift(inner: Bounds, outer: Bounds) -> Bounds:
    z, y, x = ((o[0] + i[0], o[0] + i[1]) for i, o in zip(inner, outer, strict=True))
    return z, y, x


def _clip(bounds: tuple[tuple[int, int], ...], shape: Shape) -> Bounds:
    z, y, x = ((start, min(stop, n)) for (start, stop), n in zip(bounds, shape, strict=True))
    return z, y, x


def _of_slices(found: tuple[slice, ...]) -> Bounds:
    z, y, x = ((s.start, s.stop) for s in found)
    return z, y, x
