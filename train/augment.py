"""Augmentation of one patch. The paper names none; the `demo` preset mirrors."""

from __future__ import annotations

import numpy as np

from kits_submit.types import Image, Labels


def mirror(image: Image, label: Labels, axes: str, rng: np.random.Generator) -> tuple[Image, Labels]:
    """Mirror image and label together along each of `axes` (letters of "zyx") with probability one half."""
    flipped = tuple(axis for axis, name in enumerate("zyx") if name in axes and rng.random() < 0.5)
    return np.flip(image, flipped), np.flip(label, flipped)
