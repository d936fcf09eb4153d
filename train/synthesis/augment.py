"""Augmentation of one patch: mirrored, turned, stretched, bent, rescanned. The paper names none: strength 0 is off.

`strength` scales every range below; at 1 they are for few scans that stand for all scanners and phases:

    geometry    turned about each axis, stretched, bent by a smooth field; the patch's centre stays where it is, so that
                the class drawn for it holds
    tissue      enhancement: whatever is brighter than unenhanced tissue, kidney and vessels alike, gains or loses
                together; a HU shift, a scale about water, a gamma
    bowel       loops full of oral contrast, some with gas above it: bright as kidneys, beside them, and background
    scanner     thicker slices (means over neighbouring ones, then read between them), in-plane blur, noise, the end of
                the field of view

Interpolation is scipy's, linear for HU and nearest for labels. Values are standardised and clipped to the HU window
before and after, as the network sees them at inference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kits_submit.recipe import Recipe
from kits_submit.types import Array, Image, Labels, Shape
from train.synthesis.contrast import noisy, recontrasted
from train.synthesis.habitus import with_fat

TURN_DEGREES = (20.0, 8.0, 8.0)  # about z, y, x: patients lie flat, and turn most about their own axis
STRETCH, STRETCH_AXIS = 0.22, 0.08  # logs of the largest factors: one for all axes, one for each
BEND_MM, BEND_EVERY_MM = 5.0, 35.0
ENHANCEMENT, UNENHANCED_HU = 0.45, 45.0  # log of the largest factor; where it sets in
SHIFT_HU, SCALE, GAMMA = 12.0, 0.1, 0.25
THICKEST_MM = 5.0
LOOPS, LOOP_MM, LOOP_HU = 6, (7.0, 28.0), (120.0, 600.0)  # at most so many; half-axes; what oral contrast measures
LOOP_EDGE, LOOP_UNEVEN = 0.2, 0.15  # share of the half-axis over which it fades; of its brightness that varies
BLUR_MM, NOISE_HU = 1.2, 18.0
OFTEN, SOMETIMES, SELDOM = 0.8, 0.4, 0.1  # how likely a change is


@dataclass(frozen=True)
class Augmenter:
    """Augments patches on one Recipe's grid.

    - `strength`: 0 off, 1 the ranges of this module.
    - `contrast`: share of patches whose contrast is drawn anew first (`train.synthesis.contrast`).
    - `fat`: share of patches whose fat around and in kidneys is, then (`train.synthesis.habitus`).
    """

    recipe: Recipe
    strength: float
    contrast: float = 0.0
    fat: float = 0.0

    def patch(
        self, image: Array, label: Array, centre: Shape, patch: Shape, rng: np.random.Generator
    ) -> tuple[Image, Labels]:
        """A patch of a standardised ZYX volume and its labels, augmented; its voxel at patch // 2 is that of `centre`.

        What lies beyond the volume is air, label 0.
        """
        coordinates = self._coordinates(centre, patch, rng)
        corner, region = _region(coordinates, image.shape)
        local = coordinates - corner[:, None, None, None]
        hu = ndimage.map_coordinates(
            np.asarray(image[region], np.float32), local, order=1, mode="constant", cval=self._air
        )
        classes = ndimage.map_coordinates(np.asarray(label[region]), local, order=0, mode="constant", cval=0)
        if self.contrast and rng.random() < self.contrast:
            hu = self._recontrasted(hu, classes, rng)
        if self.fat and rng.random() < self.fat:
            hu, classes = self._with_fat(hu, classes, rng)
        recoloured = self._recoloured(hu, rng)
        if rng.random() < SOMETIMES * min(self.strength, 1):
            recoloured = self._fed(recoloured, classes, rng)
        return self._rescanned(recoloured, classes, rng)

    @property
    def _air(self) -> float:
        return (self.recipe.clip_hu[0] - self.recipe.mean_hu) / self.recipe.std_hu

    def _coordinates(self, centre: Shape, patch: Shape, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """(3, *patch) voxel coordinates to read at."""
        spacing = self.recipe.spacing_mm
        mm = [(np.arange(n, dtype=np.float32) - n // 2) * np.float32(s) for n, s in zip(patch, spacing, strict=True)]
        z, y, x = np.ix_(*mm)
        turn = (self._turn(rng) if rng.random() < OFTEN else np.eye(3)).astype(np.float32)
        bend = self._bend(patch, rng) if rng.random() < SOMETIMES else np.zeros(3, np.float32)
        rows = (
            (to_z * z + to_y * y + to_x * x + moved) / np.float32(s) + np.float32(c)
            for (to_z, to_y, to_x), moved, s, c in zip(turn, bend, spacing, centre, strict=True)
        )
        return np.stack(list(rows))

    def _turn(self, rng: np.random.Generator) -> Array:
        """3x3, millimetres to millimetres."""
        angles = np.radians(TURN_DEGREES) * rng.uniform(-1, 1, 3) * self.strength
        turn = np.eye(3)
        for axis, angle in enumerate(angles):
            a, b = (other for other in range(3) if other != axis)
            about = np.eye(3)
            about[a, a] = about[b, b] = math.cos(angle)
            about[a, b], about[b, a] = -math.sin(angle), math.sin(angle)
            turn = turn @ about
        logs = STRETCH * rng.uniform(-1, 1) + STRETCH_AXIS * rng.uniform(-1, 1, 3)
        return np.asarray(turn @ np.diag(np.exp(-self.strength * logs)))

    def _bend(self, patch: Shape, rng: np.random.Generator) -> Array:
        """(3, *patch) smooth displacement in mm, none at the patch's centre."""
        knots = [
            max(2, math.ceil(n * s / BEND_EVERY_MM) + 1) for n, s in zip(patch, self.recipe.spacing_mm, strict=True)
        ]
        field = (rng.uniform(-1, 1, (3, *knots)) * (BEND_MM * self.strength)).astype(np.float32)
        for axis, (n, k) in enumerate(zip(patch, knots, strict=True), start=1):
            field = np.moveaxis(np.tensordot(_between(n, k), field, axes=(1, axis)), 0, axis)
        z, y, x = (n // 2 for n in patch)
        return np.asarray(field - field[:, z : z + 1, y : y + 1, x : x + 1], np.float32)

    def _recontrasted(self, image: Image, label: Labels, rng: np.random.Generator) -> Image:
        hu = self._hu(image)
        changed = noisy(recontrasted(hu, label, self.recipe.spacing_mm, rng), rng)
        return np.where(hu <= self.recipe.clip_hu[0], image, self._standardised(changed))

    def _with_fat(self, image: Image, label: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
        hu = self._hu(image)
        changed, remains = with_fat(hu, label, self.recipe.spacing_mm, rng)
        return (image, label) if changed is hu else (self._standardised(changed), remains)

    def _recoloured(self, image: Image, rng: np.random.Generator) -> Image:
        low, high = self.recipe.clip_hu
        hu = self._hu(image)
        air = hu <= low
        if rng.random() < OFTEN:
            factor = math.exp(ENHANCEMENT * self.strength * rng.uniform(-1, 1))
            hu = np.where(hu > UNENHANCED_HU, UNENHANCED_HU + (hu - UNENHANCED_HU) * np.float32(factor), hu)
        if rng.random() < OFTEN:
            scale, shift = 1 + SCALE * self.strength * rng.uniform(-1, 1), SHIFT_HU * self.strength * rng.uniform(-1, 1)
            hu = hu * np.float32(scale) + np.float32(shift)
        if rng.random() < SOMETIMES:
            gamma = math.exp(GAMMA * self.strength * rng.uniform(-1, 1))
            hu = low + (high - low) * np.clip((hu - low) / (high - low), 0, 1) ** np.float32(gamma)
        hu[air] = low  # outside a body nothing is recoloured
        return self._standardised(hu)

    def _fed(self, image: Image, label: Labels, rng: np.random.Generator) -> Image:
        """With bowel loops drawn into tissue that is labelled background; a label's voxels keep their values."""
        tissue = np.flatnonzero((label == 0) & (image > self._air))
        if not len(tissue):
            return image
        uneven = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), 2)
        uneven /= max(float(np.abs(uneven).max()), 1e-6)
        image = image.copy()
        for _ in range(int(rng.integers(1, LOOPS + 1))):
            centre = np.unravel_index(int(rng.choice(tissue)), image.shape)
            half_mm = np.exp(rng.uniform(*np.log(LOOP_MM)) + rng.uniform(-0.5, 0.5, 3))
            z, y, x = (
                ((np.arange(n) - c) * (s / mm)).astype(np.float32)
                for n, c, s, mm in zip(image.shape, centre, self.recipe.spacing_mm, half_mm, strict=True)
            )
            distance = np.sqrt((z * z)[:, None, None] + (y * y)[:, None] + x * x) + np.float32(0.5) * uneven
            share = np.clip((1 + LOOP_EDGE - distance) / LOOP_EDGE, 0, 1) * (label == 0)
            filling = self._standardised(rng.uniform(*LOOP_HU) * (1 + LOOP_UNEVEN * uneven))
            level = rng.uniform(-1, 0) if rng.random() < SOMETIMES else -np.inf
            filling[:, y < level] = self._air  # gas lies above the fluid of a patient on the back
            image += share * (filling - image)
        return image

    def _rescanned(self, image: Image, label: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
        spacing = self.recipe.spacing_mm
        if rng.random() < SOMETIMES:
            sigma = BLUR_MM * self.strength * rng.random()
            image = ndimage.gaussian_filter(image, (0, sigma / spacing[1], sigma / spacing[2]))
        if rng.random() < SOMETIMES:
            thickness = rng.uniform(spacing[0], max(spacing[0], THICKEST_MM))
            image = thickened(image, thickness / spacing[0], rng.random())
        if rng.random() < OFTEN:
            grain = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0, 0.6, 0.6))
            sigma = NOISE_HU * self.strength * rng.random() / self.recipe.std_hu
            image = image + grain * np.float32(sigma / max(float(grain.std()), 1e-6))
        if rng.random() < SELDOM * min(self.strength, 1):
            image, label = self._cut_off(image, label, rng)
        return self._standardised(self._hu(image)), label

    def _cut_off(self, image: Image, label: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
        """Air beyond one face, up to a third of the way in: where a scan, or its field of view, ends."""
        axis = int(rng.integers(3))
        depth = int(rng.integers(1, max(2, image.shape[axis] // 3)))
        lost: list[slice] = [slice(None)] * 3
        lost[axis] = slice(0, depth) if rng.random() < 0.5 else slice(image.shape[axis] - depth, None)
        image, label = image.copy(), label.copy()
        image[tuple(lost)], label[tuple(lost)] = self._air, 0
        return image, label

    def _hu(self, image: Image) -> Image:
        return np.asarray(image * np.float32(self.recipe.std_hu) + np.float32(self.recipe.mean_hu))

    def _standardised(self, hu: Image) -> Image:
        low, high = self.recipe.clip_hu
        return np.asarray((np.clip(hu, low, high) - self.recipe.mean_hu) / self.recipe.std_hu, np.float32)


@lru_cache
def _between(count: int, knots: int) -> npt.NDArray[np.float32]:
    """(count, knots): cubic spline values between knots, one axis of `ndimage.zoom`."""
    return ndimage.zoom(np.eye(knots), (count / knots, 1), order=3, mode="nearest", grid_mode=True).astype(np.float32)


def thickened(image: Image, slices: float, phase: float) -> Image:
    """A ZYX patch as slices of `slices` times the thickness show it, read back between them linearly.

    Args:
        slices: thickness, and distance, of the new slices in old ones; at most 1 changes nothing.
        phase: 0 to 1, where the first new slice begins.
    """
    if slices <= 1:
        return image
    depth = image.shape[0]
    edges = np.arange(-phase, depth / slices + 1) * slices
    old = np.arange(depth)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    shares = np.clip(overlap, 0, None)
    held = shares.sum(axis=1)
    kept = held > 0
    shares, centres = shares[kept] / held[kept, None], ((edges[1:] + edges[:-1]) / 2)[kept]
    back = np.stack([np.interp(old + 0.5, centres, row) for row in np.eye(len(centres))], axis=1)
    return np.tensordot((back @ shares).astype(np.float32), image, axes=1)


def mirror(image: Image, label: Labels, axes: str, rng: np.random.Generator) -> tuple[Image, Labels]:
    """Mirror image and label together along each of `axes` (letters of "zyx") with probability one half."""
    flipped = tuple(axis for axis, name in enumerate("zyx") if name in axes and rng.random() < 0.5)
    return np.flip(image, flipped), np.flip(label, flipped)


def _region(coordinates: Array, shape: tuple[int, ...]) -> tuple[Array, tuple[slice, ...]]:
    """First voxel and slices of the part of a volume that these coordinates need; at least one voxel."""
    low = np.floor(coordinates.min(axis=(1, 2, 3))).astype(int)
    high = np.ceil(coordinates.max(axis=(1, 2, 3))).astype(int) + 1
    first = np.clip(low, 0, np.array(shape) - 1)
    last = np.clip(high, first + 1, shape)
    return first, tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
