"""HU to what the network sees: clip to the Recipe's window, subtract its mean, divide by its deviation (paper 2.3)."""

from __future__ import annotations

import numpy as np

from kits_submit.recipe import Recipe
from kits_submit.types import Image


def standardise(image: Image, recipe: Recipe) -> Image:
    """Clip and standardise a float32 array of HU in place, and return it."""
    np.clip(image, *(np.float32(hu) for hu in recipe.clip_hu), out=image)
    image -= np.float32(recipe.mean_hu)
    image /= np.float32(recipe.std_hu)
    return image


def air(recipe: Recipe) -> float:
    """The standardised value of air, to the bit: what stands outside a volume wherever a patch leaves it."""
    return float(standardise(np.array([recipe.clip_hu[0]], np.float32), recipe)[0])
