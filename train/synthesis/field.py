"""A smooth random field, which makes what is drawn into a patch uneven."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kits_submit.types import Image, Spacing


def smooth_field(shape: tuple[int, ...], spacing_mm: Spacing, grain_mm: float, rng: np.random.Generator) -> Image:
    """A smooth random field of standard deviation 1."""
    white = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, [grain_mm / 2 / s for s in spacing_mm], mode="wrap", truncate=2.5)
    return np.asarray(smooth / max(float(smooth.std()), 1e-6), np.float32)
