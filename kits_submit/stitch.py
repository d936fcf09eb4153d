"""Patches through an engine and back into one volume of class probabilities. Knows nothing of files or HU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kits_submit.engine.protocol import Engine
from kits_submit.errors import ModelError
from kits_submit.patches import batches, patch_grid
from kits_submit.recipe import Recipe
from kits_submit.types import Image, Logits, Probabilities


def stitch(
    image: Image,
    recipe: Recipe,
    engine: Engine,
    *,
    outside: float,
    batch_size: int = 1,
    on_patches: Callable[[int, int], None] | None = None,
) -> Probabilities:
    """Class probabilities of a standardised ZYX image, KZYX on the same grid.

    Each voxel's value is that of the one patch that keeps it (`kits_submit.patches`): nothing is blended, so a network
    that is a function of each voxel alone gives the same bits stitched as whole.

    Args:
        outside: the standardised value beyond the volume (air).
        batch_size: patches handed to the engine at once.
        on_patches: told (done, all) after each batch.

    Raises:
        ModelError: the engine answers with another shape, or with values that are not finite.
    """
    z, y, x = image.shape
    boxes = patch_grid((z, y, x), recipe.patch, recipe.margin, recipe.multiple)
    probabilities = np.empty((len(recipe.labels), z, y, x), np.float32)
    done = 0
    for some in batches(boxes, batch_size):
        batch = np.stack([box.cut(image, outside) for box in some])[:, None]
        logits = engine.run(batch)
        _refuse_wrong(logits, (len(some), len(recipe.labels), *some[0].size))
        for box, one in zip(some, logits, strict=True):
            probabilities[(slice(None), *box.kept)] = softmax(one[(slice(None), *box.kept_inside)])
        done += len(some)
        if on_patches:
            on_patches(done, len(boxes))
    return probabilities


def softmax(logits: Logits) -> Probabilities:
    """Over the first axis, in float32, safe for large logits."""
    odds: Probabilities = np.exp(logits - logits.max(axis=0))
    odds /= odds.sum(axis=0)
    return odds


def _refuse_wrong(logits: Logits, shape: tuple[int, ...]) -> None:
    if logits.shape != shape:
        raise ModelError(f"the network answered with shape {logits.shape}, expected {shape}", fix="export it again")
    if not np.isfinite(logits).all():
        raise ModelError("the network answered with NaN or infinite values", fix="export it again, or try --device cpu")
