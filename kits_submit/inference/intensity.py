"""Values of a file to what the network sees.

By a Recipe's window: clip, subtract its mean, divide by its deviation (paper 2.3). By a volume's own values where the
Recipe's practice says so (nnU-Net's other schemes): its mean and deviation, its least and most, or as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from kits_submit.inference.survey import Survey
from kits_submit.recipe import Recipe
from kits_submit.types import Image

_LEAST_SCALE = 1e-8  # of nnU-Net's schemes, where a volume is of one value


@dataclass(frozen=True)
class Intensity:
    """value -> (clipped value - `shift`) / `scale`; `clip`: None where nothing is clipped."""

    clip: tuple[float, float] | None
    shift: float
    scale: float

    @classmethod
    def of(cls, recipe: Recipe, survey: Survey | None = None) -> Self:
        """Of one volume; `survey` is asked where its own values count."""
        kind = recipe.practice.intensity
        if kind == "window":
            return cls(recipe.clip_hu, recipe.mean_hu, recipe.std_hu)
        if kind == "none":
            return cls(None, 0.0, 1.0)
        assert survey is not None, "Practice.looks_first says so"
        if kind == "zscore":
            return cls(None, survey.mean, max(survey.std, _LEAST_SCALE))
        return cls(None, survey.least, max(survey.most - survey.least, _LEAST_SCALE))

    def apply(self, image: Image) -> Image:
        """Standardise a float32 array in place, and return it."""
        if self.clip is not None:
            np.clip(image, *(np.float32(hu) for hu in self.clip), out=image)
        image -= np.float32(self.shift)
        image /= np.float32(self.scale)
        return image

    def limits(self, survey: Survey) -> tuple[float, float]:
        """The least and the most standardised value of a volume."""
        low, high = self.apply(np.array([survey.least, survey.most], np.float32))
        return float(low), float(high)


def standardise(image: Image, recipe: Recipe) -> Image:
    """Standardise a float32 array in place by a Recipe, or by its own values alone, and return it."""
    needs = recipe.practice.intensity in ("zscore", "range")
    z, y, x = image.shape if image.ndim == 3 else (1, 1, image.size)
    survey = Survey.of(enumerate(image.reshape(z, y, x)), 0, (z, y, x)) if needs else None
    return Intensity.of(recipe, survey).apply(image)


def air(recipe: Recipe) -> float:
    """The standardised value, to the bit, of what stands outside a volume wherever a patch leaves it: air's, or what
    the Recipe's practice says.
    """
    if recipe.practice.outside is not None:
        return recipe.practice.outside
    return float(standardise(np.array([recipe.clip_hu[0]], np.float32), recipe)[0])
