"""Held-out cases through the runtime's own stitching and the scorer's own measures, on the Recipe's grid.

No refinement: this is the network's own answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from evaluation.case import score_masks
from kits_submit.intensity import air
from kits_submit.recipe import Recipe
from kits_submit.stitch import stitch
from kits_submit.types import Batch, Image, Labels, Logits
from train.cache import CachedCase
from train.network.deeplab import DeepLab3D


@dataclass(frozen=True)
class CaseScore:
    """KiTS19's two: `kidney` is the Dice of label > 0 (kidney with tumor), `tumor` that of label 2."""

    case_id: str
    kidney: float
    tumor: float


class TorchEngine:
    """A network as a `kits_submit.engine.protocol.Engine`."""

    name, device, batch_voxels = f"torch {torch.__version__}", "cpu", 1 << 20

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network

    @torch.inference_mode()
    def run(self, batch: Batch) -> Logits:
        """NCZYX to NKZYX."""
        images = torch.from_numpy(batch).to(memory_format=torch.channels_last_3d)
        logits: Logits = self._network(images).numpy()
        return logits


def validate(
    network: DeepLab3D, cases: Iterable[CachedCase], recipe: Recipe, *, on_case: Callable[[CaseScore], None]
) -> list[CaseScore]:
    """Score each case; the network is in eval mode."""
    scores = []
    for case in cases:
        predicted = predict_volume(network, np.asarray(case.image, np.float32), recipe)
        dice = score_masks(predicted, np.asarray(case.label), recipe.spacing_mm, "kits19")
        scores.append(CaseScore(case.case_id, dice["tk_dice"], dice["tu_dice"]))
        on_case(scores[-1])
    return scores


def predict_volume(network: torch.nn.Module, image: Image, recipe: Recipe) -> Labels:
    """Most likely class of each voxel of a standardised ZYX image, of any shape."""
    probabilities = stitch(image, recipe, TorchEngine(network), outside=air(recipe))
    labels: Labels = probabilities.argmax(axis=0).astype(np.uint8)
    return labels
