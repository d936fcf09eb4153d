"""Batches of patches whose central voxel, or one near it, is equally likely of each class (paper section 2.4).

A batch is a function of the seed and the step alone, so a resumed training goes on as if never stopped, and each patch
one of its place in the batch, so workers that share a batch draw what one alone would. An epoch visits each case once
in a random order, `patients` cases a step; the last step of an epoch is filled up from its start.

The class of a centre is drawn first, evenly among those that the case has, then a voxel evenly among that class's.
Where a patch leaves the volume it is padded with air: the standardised lower end of the HU window, label 0.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kits_submit.errors import InputError
from kits_submit.labels import KIDNEY
from kits_submit.types import Batch, Image, Labels, Shape, Spacing
from train.data.cache import CachedCase, Indices
from train.synthesis.augment import Augmenter, mirror

_DRAWS = 20  # with four fifths of the volume at the window's end, one draw in a hundred ends there all the same
BESIDE_MM = 60.0
_ABOVE_AIR = 0.01  # of the standard deviation: above what float16 rounds


@dataclass(frozen=True)
class PatchBatch:
    """`image` float32 NCZYX with C = 1, `label` uint8 NZYX."""

    image: Batch
    label: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Beside:
    """Which share of background centres lies within `reach` voxels, along Z, Y, X, of a foreground one."""

    share: float
    reach: Shape


class Sampler:
    """Draws `batch(step)` from cached cases."""

    def __init__(
        self,
        cases: Sequence[CachedCase],
        *,
        patch: Shape,
        batch: int,
        patients: int,
        air: float,
        background_above_air: bool = False,
        centre_jitter: float = 0.0,
        flip_axes: str = "",
        augmenter: Augmenter | None = None,
        whole: bool = False,
        background_beside: float = 0.0,
        spacing_mm: Spacing = (1.0, 1.0, 1.0),
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`batch` and `patients` are of each of `world` workers; this is worker `rank`.

        `background_beside`: share of background centres near the foreground, for which `spacing_mm` is needed.

        `whole`: tumors are taught as kidney.
        """
        if not cases:
            raise InputError("no case to train on", fix="give at least one labelled case")
        self.cases = tuple(cases)
        self.patch = patch
        self.size = batch * world
        self.places = range(rank * batch, (rank + 1) * batch)
        self.patients = min(patients * world, self.size, len(self.cases))
        self.air = air
        self.background_above_air = background_above_air
        self.centre_jitter = centre_jitter
        self.flip_axes = flip_axes
        self.augmenter = augmenter
        self.whole = whole
        z, y, x = (max(1, round(BESIDE_MM / s)) for s in spacing_mm)
        self.beside = Beside(background_beside, (z, y, x))
        self.seed = seed

    @property
    def steps_per_epoch(self) -> int:
        """Steps that visit each case once."""
        return -(-len(self.cases) // self.patients)

    def batch(self, step: int) -> PatchBatch:
        """This worker's part of a step's batch; steps count from 0. 39 patches of 13 cases: three of each in a row."""
        cases = self.patients_of(step)
        pairs = [
            self._patch(cases[place * len(cases) // self.size], np.random.default_rng((self.seed, 1, step, place)))
            for place in self.places
        ]
        images = np.stack([image for image, _ in pairs])[:, None]
        return PatchBatch(images, np.stack([label for _, label in pairs]))

    def patients_of(self, step: int) -> list[CachedCase]:
        """Which cases a step draws from: 5 cases, 2 a step: order[0:2], order[2:4], then order[4] and order[0]."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.cases))
        first = place * self.patients
        return [self.cases[order[i % len(order)]] for i in range(first, first + self.patients)]

    def _patch(self, case: CachedCase, rng: np.random.Generator) -> tuple[Image, Labels]:
        air = self.air if self.background_above_air else None
        drawn = draw_centre(case, rng, air, self.beside)
        centre = jittered(drawn, self.patch, self.centre_jitter, rng) if self.centre_jitter else drawn
        if self.augmenter is None:
            image, label = cut_patch(case, centre, self.patch, self.air)
        else:
            image, label = self.augmenter.patch(case.image, case.label, centre, self.patch, rng)
        image, label = mirror(image, label, self.flip_axes, rng)
        return image, np.minimum(label, KIDNEY) if self.whole else label


def draw_centre(
    case: CachedCase, rng: np.random.Generator, air: float | None = None, beside: Beside | None = None
) -> Shape:
    """A voxel (z, y, x): class evenly among those present, then evenly among the class's voxels.

    Args:
        air: given, a background voxel of this value (at or below the HU window: air, lung, fat) is drawn again, a few
            times at most.
        beside: given, its share of background voxels is drawn from a box about a foreground voxel, as far as a few
            draws find one there.
    """
    shape, foreground, by_class = case.shape, case.foreground, case.by_class
    counts = (math.prod(shape) - len(foreground), *(len(indices) for indices in by_class))
    present = [k for k, count in enumerate(counts) if count]
    k = present[rng.integers(len(present))]
    if k:
        return _place(int(by_class[k - 1][rng.integers(counts[k])]), shape)
    if beside is not None and beside.share and len(foreground) and rng.random() < beside.share:
        near = _near_foreground(case, rng, air, beside.reach)
        if near is not None:
            return near
    image = case.image
    for _ in range(1 if air is None else _DRAWS):
        centre = _place(nth_absent(foreground, int(rng.integers(counts[0]))), shape)
        if air is None or image[centre] > air + _ABOVE_AIR:
            break
    return centre


def _near_foreground(case: CachedCase, rng: np.random.Generator, air: float | None, reach: Shape) -> Shape | None:
    """A background voxel in a box about a foreground one; None where a few draws find none."""
    foreground, image, label = case.foreground, case.image, case.label
    for _ in range(_DRAWS):
        first = _place(int(foreground[rng.integers(len(foreground))]), case.shape)
        z, y, x = (
            min(max(at + int(rng.integers(-r, r + 1)), 0), n - 1)
            for at, r, n in zip(first, reach, case.shape, strict=True)
        )
        if label[z, y, x] == 0 and (air is None or image[z, y, x] > air + _ABOVE_AIR):
            return z, y, x
    return None


def jittered(drawn: Shape, patch: Shape, share: float, rng: np.random.Generator) -> Shape:
    """The centre of a patch in which `drawn` lies up to `share` of each edge off the centre, everywhere as likely.

    A class drawn for the central voxel teaches a network where in a patch to expect it; at inference it is anywhere.
    """
    reach = [int(share * edge) for edge in patch]
    z, y, x = (int(c + rng.integers(-r, r + 1)) for c, r in zip(drawn, reach, strict=True))
    return z, y, x


def _place(flat: int, shape: Shape) -> Shape:
    z, y, x = np.unravel_index(flat, shape)
    return int(z), int(y), int(x)


def nth_absent(ascending: Indices, rank: int) -> int:
    """The number at `rank` (from 0) among those from 0 up that are not in `ascending`: [1, 2, 5], rank 2 gives 4.

    Below ascending[i] lie ascending[i] - i absent numbers, so a binary search over i finds how many to skip.
    """
    return rank + bisect_right(range(len(ascending)), rank, key=lambda i: int(ascending[i]) - i)


def cut_patch(case: CachedCase, centre: Shape, patch: Shape, air: float) -> tuple[Image, Labels]:
    """Image and label of `patch` voxels with `centre` at index patch // 2, padded where it leaves the volume."""
    source, label_source = case.image, case.label
    image = np.full(patch, air, np.float32)
    label = np.zeros(patch, np.uint8)
    starts = [c - edge // 2 for c, edge in zip(centre, patch, strict=True)]
    spans = list(zip(starts, patch, source.shape, strict=True))
    read = tuple(slice(max(start, 0), min(start + edge, size)) for start, edge, size in spans)
    write = tuple(slice(max(-start, 0), min(edge, size - start)) for start, edge, size in spans)
    image[write] = source[read]
    label[write] = label_source[read]
    return image, label
