"""Contrast drawn anew in a labelled patch: any phase, any organ against any other, kidneys of any health.

A scan shows one moment after one injection. A network that has seen four learns that kidneys are the brightest organs;
in other hospitals' scans they may be as dark as muscle (before contrast), or darker than the spleen. So, for a share of
patches, each of these by a chance of its own:

    phase       how much contrast there is, from none to arterial: all that is brighter than unenhanced tissue is scaled
                by one factor, and the kidneys' enhancement is that of other organs times a ratio, so that they are
                seldom darker than a spleen, and then not by much; tumors and cysts keep their ratio to the kidneys
    dilated     fluid in a kidney's middle, of a stowed renal pelvis
    patchy      parts of a kidney that take up less: infarcts, inflammation; no tumors
    organs      rounded masses of soft tissue or food in the background, of any HU, plain or mottled with gas
    noise       up to that of a large patient's thin slices, at times drawn out along rows, as streaks are

`label` says what is kidney (1) and tumor (2); it stays as it is. HU in and out, float32 ZYX.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kits_submit.labels import KIDNEY
from kits_submit.types import Array, Image, Labels, Spacing
from train.synthesis.field import smooth_field

UNENHANCED, DARK_HU, DARK_REST = 0.3, (12.0, 46.0), (0.0, 0.25)  # share of patches; kidneys; factor of all else
ENHANCED_REST, KIDNEY_RATIO = (0.1, 1.6), (0.75, 2.7)  # factor of all else; kidneys' enhancement over an organ's
PARENCHYMA_HU, ORGAN_ENHANCEMENT_HU = 33.0, 70.0  # kidneys before contrast; what a spleen gains in the portal phase
REST_FROM_HU, REST_HU, BONE_HU = 45.0, 200.0, 260.0  # what a factor scales; above, back to what it was: bone stays
LEAST_VOXELS = 100  # of kidney, to measure and change it
DILATED, DILATED_DEPTH_MM, FLUID_HU = 0.06, (5.0, 11.0), (0.0, 22.0)
PATCHY, PATCHY_GRAIN_MM, PATCHY_LEFT = 0.06, (8.0, 20.0), (0.3, 0.8)
ORGANS, MOST_ORGANS, ORGAN_MM, ORGAN_HU = 0.3, 4, (9.0, 40.0), (5.0, 230.0)
APART_MM = 8.0  # about so far from a kidney, or they would look like its tumors
MOTTLED, MOTTLE_HU, GAS_BELOW = 0.3, (10.0, 60.0), -1.3
NOISY, NOISY_HU, STREAKED, STREAK_VOXELS = 0.35, 40.0, 0.3, 4.0
EDGE_VOXELS = 0.7  # over which a changed label's border fades


def recontrasted(hu: Image, label: Labels, spacing_mm: Spacing, rng: np.random.Generator) -> Image:
    """A patch with its contrast drawn anew; equal generators give equal patches."""
    if rng.random() < ORGANS:
        hu = _with_organs(hu, label, spacing_mm, rng)
    kidney = label > 0
    factor, target = _phase(rng)
    changed = rest_enhanced(hu, factor)
    if np.count_nonzero(kidney) < LEAST_VOXELS:
        return changed
    inside = kidney_at(hu, label, target)
    if rng.random() < DILATED:
        inside = _dilated(inside, label, spacing_mm, rng)
    if rng.random() < PATCHY:
        inside = _patchy(inside, label, spacing_mm, rng)
    share = ndimage.gaussian_filter(kidney.astype(np.float32), EDGE_VOXELS)
    share = np.where(kidney, 1.0, np.minimum(share, 0.5))  # a rim outside shares a voxel with the kidney
    return np.asarray(changed + share * (inside - changed), np.float32)


def noisy(hu: Image, rng: np.random.Generator) -> Image:
    """With strong noise, sometimes."""
    if rng.random() >= NOISY:
        return hu
    along = STREAK_VOXELS * rng.random() if rng.random() < STREAKED else 0.5
    grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0, 0.5, along))
    return np.asarray(hu + grain * np.float32(NOISY_HU * rng.random() / max(float(grain.std()), 1e-6)), np.float32)


def rest_enhanced(hu: Image, factor: float) -> Image:
    """What is brighter than unenhanced tissue with its enhancement times `factor`; bone keeps its own."""
    top = REST_FROM_HU + (REST_HU - REST_FROM_HU) * factor
    knots = [REST_FROM_HU, REST_HU, max(BONE_HU, REST_HU + 1)]
    values = [REST_FROM_HU, top, max(BONE_HU, top)]
    scaled = np.interp(hu, knots, values)
    return np.asarray(np.where((hu > REST_FROM_HU) & (hu < BONE_HU), scaled, hu), np.float32)


def kidney_at(hu: Image, label: Labels, target_hu: float) -> Image:
    """HU scaled about water so that the median of kidney (1), or where there is little of it of all, is `target_hu`."""
    healthy = label == KIDNEY
    measured = hu[healthy if np.count_nonzero(healthy) >= LEAST_VOXELS else label > 0]
    now = max(float(np.median(measured)), 20.0)
    return np.asarray(np.where(hu > 0, hu * np.float32(target_hu / now), hu), np.float32)


def _phase(rng: np.random.Generator) -> tuple[float, float]:
    """Factor of what all but kidneys gain, and the kidneys' HU."""
    if rng.random() < UNENHANCED:
        return float(rng.uniform(*DARK_REST)), float(rng.uniform(*DARK_HU))
    factor = float(rng.uniform(*ENHANCED_REST))
    ratio = float(np.exp(rng.uniform(*np.log(KIDNEY_RATIO))))
    return factor, PARENCHYMA_HU + ORGAN_ENHANCEMENT_HU * factor * ratio


def _dilated(hu: Image, label: Labels, spacing_mm: Spacing, rng: np.random.Generator) -> Image:
    depth_mm = ndimage.distance_transform_edt(label > 0, sampling=spacing_mm)
    inside = np.clip((depth_mm - rng.uniform(*DILATED_DEPTH_MM)) / 2 + 0.5, 0, 1) * (label == KIDNEY)
    return np.asarray(hu + inside * (rng.uniform(*FLUID_HU) - hu), np.float32)


def _patchy(hu: Image, label: Labels, spacing_mm: Spacing, rng: np.random.Generator) -> Image:
    field = smooth_field(hu.shape, spacing_mm, float(rng.uniform(*PATCHY_GRAIN_MM)), rng)
    share = np.clip(2 * (field - rng.uniform(0.3, 1.5)), 0, 1) * (label == KIDNEY) * (hu > 0)
    return np.asarray(hu * (1 - share * (1 - rng.uniform(*PATCHY_LEFT))), np.float32)


def _with_organs(hu: Image, label: Labels, spacing_mm: Spacing, rng: np.random.Generator) -> Image:
    """With rounded masses drawn into what is neither kidney nor tumor nor lung nor outside."""
    near = ndimage.gaussian_filter((label > 0).astype(np.float32), [APART_MM / 2 / s for s in spacing_mm])
    free = near < 0.02
    places = np.flatnonzero(free & (hu > -40))
    if not len(places):
        return hu
    hu = hu.copy()
    for _ in range(int(rng.integers(1, MOST_ORGANS + 1))):
        centre = np.unravel_index(int(rng.choice(places)), hu.shape)
        half_mm = np.exp(rng.uniform(*np.log(ORGAN_MM)) + rng.uniform(-0.4, 0.4, 3))
        distance = _ellipsoid(hu.shape, centre, half_mm, spacing_mm)
        bumps = smooth_field(hu.shape, spacing_mm, 18.0, rng)
        share = np.clip((1 + 0.12 * bumps - distance) / 0.12, 0, 1) * free
        tissue = rng.uniform(*ORGAN_HU) + _mottle(hu.shape, spacing_mm, rng)
        hu += share * (tissue - hu)
    return np.asarray(hu, np.float32)


def _mottle(shape: tuple[int, ...], spacing_mm: Spacing, rng: np.random.Generator) -> Array | float:
    """The unevenness of food, with bubbles; 0 for plain tissue."""
    if rng.random() >= MOTTLED:
        return 0.0
    field = smooth_field(shape, spacing_mm, float(rng.uniform(4, 9)), rng)
    return np.asarray(rng.uniform(*MOTTLE_HU) * field - 300.0 * (field < GAS_BELOW))


def _ellipsoid(shape: tuple[int, ...], centre: tuple[np.intp, ...], half_mm: Array, spacing_mm: Spacing) -> Array:
    """Distance from the centre in half-axes: 1 on the surface."""
    z, y, x = (
        ((np.arange(n) - c) * (s / mm)).astype(np.float32)
        for n, c, s, mm in zip(shape, centre, spacing_mm, half_mm, strict=True)
    )
    return np.asarray(np.sqrt((z * z)[:, None, None] + (y * y)[:, None] + x * x))
