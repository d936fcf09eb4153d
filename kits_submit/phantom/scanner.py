"""How a patient is scanned: voxel size, field of view, blur between slices and noise.

In-plane pixels and slice distances follow KiTS19's 210 cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from kits_submit.types import Array, Image, Spacing

# Slice distance in mm: number of the 210 KiTS19 cases that have it.
SLICE_MM = {0.5: 31, 1.0: 18, 1.25: 5, 1.5: 2, 2.0: 4, 2.5: 23, 3.0: 38, 3.75: 1, 4.0: 2, 5.0: 86}
PIXEL_MM = (0.4375, 1.041)  # smallest and largest of the 210
KITS_MATRIX = 512


@dataclass(frozen=True)
class Scan:
    """How one patient is scanned.

    fov_mm: side of the square field of view. top_mm, bottom_mm: first and last height z of the range.
    centre_mm: (y, x) of its middle. slice_at: uniform number that picks the slice distance.
    noise_hu: noise at 3 mm slices and 0.8 mm pixels in the body's middle. grain_mm: its correlation length.
    """

    fov_mm: float
    centre_mm: tuple[float, float]
    top_mm: float
    bottom_mm: float
    slice_at: float
    noise_hu: float
    grain_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, width_mm: float, middle_y: float, need: tuple[float, float]) -> Scan:
        """A scan of a body of `width_mm` that holds the heights `need` (kidneys and tumors) whole."""
        fov = width_mm / float(rng.uniform(0.69, 0.94))
        fov = float(np.clip(fov, PIXEL_MM[0] * KITS_MATRIX, PIXEL_MM[1] * KITS_MATRIX))
        top = need[0] - 12 - 110 * float(rng.beta(1.5, 1.5))
        bottom = need[1] + 12 + 170 * float(rng.beta(1.1, 1.3))
        lacking = max(0.0, 200 - (bottom - top))
        return cls(
            fov_mm=round(fov / KITS_MATRIX, 4) * KITS_MATRIX,
            centre_mm=(middle_y + float(rng.uniform(0, 22)), float(rng.normal(0, 5))),
            top_mm=top - lacking / 2,
            bottom_mm=min(bottom + lacking / 2, top + 400),
            slice_at=float(rng.random()),
            noise_hu=float(np.clip(math.exp(rng.normal(math.log(14), 0.35)), 6, 28)),
            grain_mm=float(rng.uniform(0.5, 0.9)),
        )

    def slice_mm(self, allowed: list[float]) -> float:
        """The slice distance, drawn from KiTS19's distribution over those allowed."""
        shares = np.cumsum([SLICE_MM[step] for step in allowed])
        return allowed[int(np.searchsorted(shares, self.slice_at * shares[-1], side="right"))]


def blur_slices(hu: Image, slice_mm: float) -> None:
    """Mix each slice with its neighbours in place, as thick slices do (nothing at thin ones)."""
    side = min(0.14, 0.05 * slice_mm)
    before = hu[0].copy()
    for i in range(len(hu)):
        own = hu[i].copy()
        after = hu[min(i + 1, len(hu) - 1)]
        hu[i] = own + side * (before + after - 2 * own)
        before = own


def add_noise(
    hu: Image, spacing_mm: Spacing, scan: Scan, middle: tuple[Array, Array], rng: np.random.Generator
) -> None:
    """Add grainy noise in place, slice by slice; strongest in the body's middle, weak in the air.

    middle: row and column distance from the body's axis in mm.
    """
    y, x = middle
    radial = (0.75 + 0.4 * np.exp(-((y[:, None] / 110) ** 2) - (x[None, :] / 140) ** 2)).astype(np.float32)
    dose = min(2.0, (3.0 / spacing_mm[0]) ** 0.4) * min(1.3, (0.8 / spacing_mm[2]) ** 0.4)
    sigma = [scan.grain_mm / step for step in spacing_mm[1:]]
    gain = scan.noise_hu * dose * math.prod(_noise_gain(s) for s in sigma)
    radial *= gain
    for i in range(len(hu)):
        grain = rng.standard_normal(hu.shape[1:], dtype=np.float32)
        for axis, s in enumerate(sigma):
            grain = gaussian_filter1d(grain, s, axis=axis, truncate=2.5, mode="wrap")
        hu[i] += grain * radial


def _noise_gain(sigma: float) -> float:
    """What brings white noise back to unit variance after a Gaussian of `sigma` voxels along one axis."""
    kernel = gaussian_filter1d(np.eye(1, 41, 20)[0], sigma, truncate=2.5)
    return float(1 / math.sqrt(float((kernel**2).sum())))
