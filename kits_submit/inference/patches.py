"""Cut a volume into patches whose kept parts tile it exactly: each voxel is taken from one patch, once.

The paper (section 2.4) extracts patches uniformly and discards their outer voxels, which padded convolutions disturb.
Along an axis of n voxels, with patches of p and a margin of m discarded on each inner side:

    n <= p      one patch of n rounded up to the network's multiple
    n >  p      k = ceil((n - 2m) / (p - 2m)) patches, no larger than k need: q = ceil((n - 2m) / k) + 2m rounded up to
                the multiple; starts spread evenly from 0 to n - q, neighbours cut midway through their overlap (at
                least 2m long); at the volume's own faces nothing is discarded

    n = 110, p = 72, m = 8: k = ceil(94 / 56) = 2, q = 47 + 16 = 63 -> 64, starts 0 and 46, overlap 46..64, cut at 55.

Other frameworks' networks keep whole patches, which overlap by a share of their edge (`PatchPlan.centred`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from kits_submit.errors import InputError
from kits_submit.recipe import Recipe, fits, strides_of
from kits_submit.types import Image, Shape


@dataclass(frozen=True)
class Span:
    """One axis of a patch: it reads [start, start + size) and its result holds for [keep_start, keep_stop).

    It may begin before the volume does.
    """

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
        return _slices([(a.keep_start, a.keep_stop) for a in self.axes])

    @property
    def kept_inside(self) -> tuple[slice, slice, slice]:
        """The same voxels, in the patch."""
        return _slices([(a.keep_start - a.start, a.keep_stop - a.start) for a in self.axes])

    def cut(self, image: Image, outside: float, origin: Shape = (0, 0, 0)) -> Image:
        """A copy of the patch; voxels beyond the volume have the value `outside`.

        Args:
            origin: where in the volume `image` begins, where it holds less than the volume.
        """
        patch = np.full(self.size, outside, np.float32)
        inside = self._inside(image, origin)
        before = (max(0, -axis.start) for axis in self.axes)
        patch[tuple(slice(b, b + n) for b, n in zip(before, inside.shape, strict=True))] = inside
        return patch

    def constant(self, image: Image, outside: float, origin: Shape = (0, 0, 0)) -> float | None:
        """The value of every voxel of `cut`, None where they differ."""
        inside = self._inside(image, origin)
        value = float(inside.flat[0])
        if inside.size < math.prod(self.size) and value != np.float32(outside):
            return None
        return value if inside.min() == value == inside.max() else None

    def _inside(self, image: Image, origin: Shape) -> Image:
        spans = [(max(0, a.start) - o, a.start + a.size - o) for a, o in zip(self.axes, origin, strict=True)]
        return image[_slices(spans)]

    @property
    def place(self) -> Shape:
        """Where it begins, along Z, Y, X."""
        return self.z.start, self.y.start, self.x.start

    @property
    def axes(self) -> tuple[Span, Span, Span]:
        return self.z, self.y, self.x


@dataclass(frozen=True)
class PatchPlan:
    """How a volume is cut.

    - `patch`: voxels along Z, Y, X at most, each a multiple of `multiple`, the network's total stride.
    - `margin`: outer voxels discarded on each side that faces another patch; under half of `patch`.
    - `overlap`: None discards the margin (paper section 2.4). A share of the patch's edge, at least 0 and below 1, in
      its place keeps whole patches, neighbours at least so much over each other, and blends them by Gaussian weights.
    - `centred`: with `overlap`, as nnU-Net cuts and weighs: no patch is smaller than `patch`, a volume that is lies in
      its middle, and weights are centred on voxel n // 2.
    """

    patch: Shape
    margin: Shape
    multiple: int | Shape
    overlap: float | None = None
    centred: bool = False

    def __post_init__(self) -> None:
        if not fits(self.patch, strides_of(self.multiple)):
            raise InputError(f"patch is {self.patch}, allowed: multiples of {self.multiple}", fix=_OTHER_PLAN)
        if any(m < 0 or 2 * m >= p for m, p in zip(self.margin, self.patch, strict=True)):
            raise InputError(
                f"margin is {self.margin}, allowed: at least 0 and under half of patch {self.patch}", fix=_OTHER_PLAN
            )
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise InputError(f"overlap is {self.overlap}, allowed: at least 0 and below 1", fix=_OTHER_PLAN)

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The Recipe's."""
        overlap = recipe.practice.overlap
        return cls(recipe.patch, recipe.margin, recipe.multiple, overlap, overlap is not None)

    def rows(self, shape: Shape, axis: int) -> list[tuple[Span, list[PatchBox]]]:
        """The patches of a volume as rows across an axis, in ascending order: (their span on it, the patches)."""
        spans = self._spans(shape)
        rows = []
        for span in spans[axis]:
            chosen = [(span,) if a == axis else of_axis for a, of_axis in enumerate(spans)]
            rows.append((span, [PatchBox(z, y, x) for z, y, x in itertools.product(*chosen)]))
        return rows

    def size(self, shape: Shape) -> Shape:
        """Of every patch of a volume: `patch`, or less along an axis where less does."""
        z, y, x = (of_axis[0].size for of_axis in self._spans(shape))
        return z, y, x

    def weights(self, size: Shape) -> Image:
        """Gaussian weights over a patch, sigma an eighth of its edge (as nnU-Net has it), highest 1, above 0."""
        if self.centred:
            return _as_nnunet(size)
        z, y, x = (np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n * _SIGMA)) ** 2) for n in size)
        weights = (z[:, None, None] * y[:, None] * x).astype(np.float32)
        least: Image = np.maximum(weights / weights.max(), np.float32(_LEAST_WEIGHT))
        return least

    def _spans(self, shape: Shape) -> list[list[Span]]:
        strides = strides_of(self.multiple)
        return [self._along(*of_axis) for of_axis in zip(shape, self.patch, self.margin, strides, strict=True)]

    def _along(self, n: int, most: int, margin: int, stride: int) -> list[Span]:
        if self.overlap is not None and self.centred:
            return _stepped(n, most, most * (1 - self.overlap))
        if self.overlap is not None:
            step = max(1, math.floor(most * (1 - self.overlap)))
            return _spread(n, most, math.ceil((n - most) / step) + 1, stride)
        count = max(1, math.ceil((n - 2 * margin) / (most - 2 * margin)))
        needed = math.ceil((n - 2 * margin) / count) + 2 * margin
        return _spread(n, min(most, _rounded_up(needed, stride)), count, stride)


def patch_grid(shape: Shape, patch: Shape, margin: Shape, multiple: int) -> list[PatchBox]:
    """The patches of a volume, X fastest; all of one size, and their kept parts tile the volume."""
    rows = PatchPlan(patch, margin, multiple).rows(shape, axis=0)
    return [box for _, boxes in rows for box in boxes]


def batches(boxes: list[PatchBox], size: int) -> Iterator[list[PatchBox]]:
    """As few runs as possible of at most `size` boxes, in order, their lengths as even as possible."""
    count = math.ceil(len(boxes) / size)
    for i in range(count):
        yield boxes[i * len(boxes) // count : (i + 1) * len(boxes) // count]


def _spread(n: int, patch: int, count: int, multiple: int) -> list[Span]:
    """`count` spans spread evenly, neighbours cut midway through their overlap."""
    if n <= patch:
        return [Span(0, _rounded_up(n, multiple), 0, n)]
    starts = [round(i * (n - patch) / (count - 1)) for i in range(count)]
    cuts = [0, *((a + patch + b) // 2 for a, b in itertools.pairwise(starts)), n]
    return [Span(start, patch, *kept) for start, kept in zip(starts, itertools.pairwise(cuts), strict=True)]


def _stepped(n: int, patch: int, step: float) -> list[Span]:
    """Whole patches at most `step` apart (nnU-Net's `compute_steps_for_sliding_window`).

    n = 110, patch 64, step 32: starts 0, 23, 46. n = 50, patch 64: one that begins 7 voxels before the volume.
    """
    if n <= patch:
        return [Span(-((patch - n) // 2), patch, 0, n)]
    count = math.ceil((n - patch) / step) + 1
    starts = [round((n - patch) / (count - 1) * i) for i in range(count)]
    return [Span(start, patch, start, start + patch) for start in starts]


def _as_nnunet(size: Shape) -> Image:
    """nnU-Net's weights (`compute_gaussian`): in fp16, the highest 10; what rounds to 0 is the least other."""
    z, y, x = (np.exp(-0.5 * ((np.arange(n) - n // 2) / (n * _SIGMA)) ** 2) for n in size)
    weights = (10 * z[:, None, None] * y[:, None] * x).astype(np.float16).astype(np.float32)
    weights[weights == 0] = weights[weights > 0].min()
    return weights


def _rounded_up(n: int, multiple: int) -> int:
    return math.ceil(n / multiple) * multiple


_SIGMA = 1 / 8
_LEAST_WEIGHT = 1e-6
_OTHER_PLAN = "change --patch, --margin or --overlap"


def _slices(bounds: list[tuple[int, int]]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(start, stop) for start, stop in bounds)
    return z, y, x
