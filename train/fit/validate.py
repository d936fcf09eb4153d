"""Held-out cases through the runtime's own stitching and the scorer's own measures.

during training   on the Recipe's grid, from the cache: the network's own answer, unrefined
`predict_case`    on the case's own grid, as the runtime writes it: what `tune`, `ablate` and the last scores take
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from kits_submit.engine.crop import Cells
from kits_submit.files.cases import Case
from kits_submit.inference.decision import decision_of
from kits_submit.inference.grid import resample, target_shape
from kits_submit.inference.intensity import air, standardise
from kits_submit.inference.restore import restore_labels
from kits_submit.inference.stitch import stitch
from kits_submit.recipe import Recipe
from kits_submit.types import Batch, Image, Labels, Logits, Spacing
from train.compute.distributed import Workers
from train.data.cache import CachedCase
from train.network.deeplab import DeepLab3D
from train.pairs import read_pair
from train.records.reports import Scored, measures_of


class TorchEngine:
    """A network as a `kits_submit.engine.protocol.Engine`."""

    name, batch_voxels = f"torch {torch.__version__}", 1 << 20

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network
        self._like = next(network.parameters(), torch.empty(0))

    @property
    def device(self) -> str:
        """Where the network lies."""
        return self._like.device.type

    @torch.inference_mode()
    def run(self, batch: Batch, _: Cells | None = None, /) -> Logits:
        """NCZYX to NKZYX, whole patches."""
        images = torch.from_numpy(batch).to(self._like).to(memory_format=torch.channels_last_3d)
        logits: Logits = self._network(images).float().cpu().numpy()
        return logits


def validate(
    network: DeepLab3D,
    cases: Sequence[CachedCase],
    recipe: Recipe,
    *,
    on_case: Callable[[Scored], None],
    on_labels: Callable[[CachedCase, Labels], None] | None = None,
    workers: Workers | None = None,
) -> list[Scored]:
    """Score each case, the cases shared out over the workers; the network is in eval mode.

    Args:
        on_case: told every case's score, this worker's own as they come.
        on_labels: shown this worker's predictions.
    """
    team = workers or Workers()

    def score(case: CachedCase) -> Scored:
        predicted = predict_volume(network, np.asarray(case.image, np.float32), recipe)
        scored = measures_of(recipe.labels).of(case.case_id, predicted, np.asarray(case.label), recipe.spacing_mm)
        if on_labels is not None:
            on_labels(case, predicted)
        on_case(scored)
        return scored

    scores = team.map(score, cases)
    for index, of_another in enumerate(scores):
        if index % team.world != team.rank:
            on_case(of_another)
    return scores


def predict_volume(network: torch.nn.Module, image: Image, recipe: Recipe) -> Labels:
    """Label of each voxel of a standardised ZYX image, of any shape."""
    probabilities = stitch(image, recipe, TorchEngine(network), outside=air(recipe))
    return decision_of(recipe).labels(probabilities)


def predict_case(
    network: torch.nn.Module, case: Case, recipe: Recipe, *, cysts_as_kidney: bool = False
) -> tuple[Labels, Labels, Spacing]:
    """A labelled case on its own grid: unrefined labels as the runtime would predict them, the truth, the spacing.

    Raises:
        KitsError: the case cannot be read.
    """
    voxels, truth, spacing_mm = read_pair(case, recipe.labels, cysts_as_kidney=cysts_as_kidney)
    z, y, x = voxels.shape
    image = standardise(resample(voxels, target_shape((z, y, x), spacing_mm, recipe.spacing_mm)), recipe)
    probabilities = stitch(image, recipe, TorchEngine(network), outside=air(recipe))
    return restore_labels(probabilities, (z, y, x), decision_of(recipe)), truth, spacing_mm
