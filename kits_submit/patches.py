"""Cut a volume into patches whose kept parts tile it exactly: each voxel is taken from one patch, once.

The paper (section 2.4) extracts patches uniformly and discards their outer voxels, which padded convolutions disturb.
Along an axis of n voxels, with patches of p and a margin of m discarded on each inner side:

    n <= p      one patch of n rounded up to the network's multiple
    n >  p      k = ceil((n - 2m) / (p - 2m)) patches, starts spread evenly from 0 to n - p, neighbours cut midway
                through their overlap (at least 2m long); at the volume's own faces nothing is discarded

    n = 110, p = 64, m = 8: k = ceil(94 / 48) = 2, starts 0 and 46, overlap 46..64, cut at 55.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kits_submit.types import Image, Shape


@dataclass(frozen=True)
class Span:
    """One axis of a patch: it reads [start, start + size) and its result holds for [keep_start, keep_stop)."""

    start: int
    size: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True)
class PatchBox:
    """A patch's place in a volume, along Z, Y, X."""

    z: Span
    y: Span
    x: Span

    @property
    def size(self) -> Shape:
        return self.z.size, self.y.size, self.x.size

    @property
    def kept(self) -> tuple[slice, slice, slice]:
        """Where its result goes, in the volume."""
        return _slices([(a.keep_start, a.keep_stop) for a in self._axes])

    @property
    def kept_inside(self) -> tuple[slice, slice, slice]:
        """The same voxels, in the patch."""
        return _slices([(a.keep_start - a.start, a.keep_stop - a.start) for a in self._axes])

    def cut(self, image: Image, outside: float) -> Image:
        """A copy of the patch; voxels beyond the volume have the value `outside`."""
        patch = np.full(self.size, outside, np.float32)
        inside = image[_slices([(a.start, a.start + a.size) for a in self._axes])]
        patch[tuple(slice(0, n) for n in inside.shape)] = inside
        return patch

    @property
    def _axes(self) -> tuple[Span, Span, Span]:
        return self.z, self.y, self.x


def patch_grid(shape: Shape, patch: Shape, margin: Shape, multiple: int) -> list[PatchBox]:
    """The patches of a volume, X fastest; all of one size, and their kept parts tile the volume.

    Args:
        shape: of the volume, Z, Y, X.
        patch: voxels of a patch, each a multiple of `multiple`.
        margin: outer voxels discarded on each side that faces another patch; under half of `patch`.
        multiple: what each edge of the network's input must be a multiple of.
    """
    axes = [_spans(*of_axis, multiple) for of_axis in zip(shape, patch, margin, strict=True)]
    return [PatchBox(z, y, x) for z, y, x in itertools.product(*axes)]


def batches(boxes: list[PatchBox], size: int) -> Iterator[list[PatchBox]]:
    """Runs of at most `size` boxes, in order."""
    for start in range(0, len(boxes), size):
        yield boxes[start : start + size]


def _spans(n: int, patch: int, margin: int, multiple: int) -> list[Span]:
    if n <= patch:
        return [Span(0, math.ceil(n / multiple) * multiple, 0, n)]
    count = math.ceil((n - 2 * margin) / (patch - 2 * margin))
    starts = [round(i * (n - patch) / (count - 1)) for i in range(count)]
    cuts = [0, *((a + patch + b) // 2 for a, b in itertools.pairwise(starts)), n]
    return [Span(start, patch, *kept) for start, kept in zip(starts, itertools.pairwise(cuts), strict=True)]


def _slices(bounds: list[tuple[int, int]]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(start, stop) for start, stop in bounds)
    return z, y, x
