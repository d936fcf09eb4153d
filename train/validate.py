"""Whole-volume prediction by torch on the Recipe's grid, and Dice by class.

Patches of `recipe.patch` whose outer `recipe.margin` voxels are discarded (paper section 2.4); around the volume stands
air. No refinement: this is the network's own answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from kits_submit.intensity import air
from kits_submit.recipe import Recipe
from kits_submit.types import TUMOR, Image, Labels, Mask
from train.cache import CachedCase
from train.network.deeplab import DeepLab3D


@dataclass(frozen=True)
class CaseScore:
    """KiTS19's two: `kidney` is the Dice of label > 0 (kidney with tumor), `tumor` that of label 2. NaN: see `dice`."""

    case_id: str
    kidney: float
    tumor: float


def validate(
    network: DeepLab3D, cases: Iterable[CachedCase], recipe: Recipe, *, on_case: Callable[[CaseScore], None]
) -> list[CaseScore]:
    """Score each case; the network is in eval mode."""
    scores = []
    for case in cases:
        predicted = predict_volume(network, np.asarray(case.image, np.float32), recipe)
        kidney = dice(predicted > 0, case.label > 0)
        scores.append(CaseScore(case.case_id, kidney, dice(predicted == TUMOR, case.label == TUMOR)))
        on_case(scores[-1])
    return scores


@torch.inference_mode()
def predict_volume(network: DeepLab3D, image: Image, recipe: Recipe) -> Labels:
    """Most likely class of each voxel of a standardised ZYX image, of any shape."""
    steps = [patch - 2 * margin for patch, margin in zip(recipe.patch, recipe.margin, strict=True)]
    counts = [-(-size // step) for size, step in zip(image.shape, steps, strict=True)]
    padding = [
        (margin, count * step - size + margin)
        for size, step, count, margin in zip(image.shape, steps, counts, recipe.margin, strict=True)
    ]
    padded = np.pad(image, padding, constant_values=air(recipe))
    labels = np.zeros([count * step for count, step in zip(counts, steps, strict=True)], np.uint8)
    core = tuple(slice(margin, margin + step) for margin, step in zip(recipe.margin, steps, strict=True))
    for corner in itertools.product(*(range(0, size, step) for size, step in zip(labels.shape, steps, strict=True))):
        patch = padded[tuple(slice(start, start + edge) for start, edge in zip(corner, recipe.patch, strict=True))]
        logits = network(torch.from_numpy(patch[None, None]).to(memory_format=torch.channels_last_3d))[0]
        target = tuple(slice(start, start + step) for start, step in zip(corner, steps, strict=True))
        labels[target] = logits[(slice(None), *core)].argmax(0).numpy()
    z, y, x = image.shape
    return labels[:z, :y, :x]


def dice(predicted: Mask, true: Mask) -> float:
    """2 |P and T| / (|P| + |T|); NaN where both are empty, 0 where one is."""
    total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(true))
    return 2 * int(np.count_nonzero(predicted & true)) / total if total else float("nan")
