"""Keep the largest component of each group of classes (nnU-Net's postprocessing)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kits_submit.inference.postprocess import components_of
from kits_submit.labels import BACKGROUND
from kits_submit.types import Labels


def keep_largest(labels: Labels, groups: Iterable[tuple[int, ...]]) -> None:
    """Clear, in ZYX labels, what of each group's voxels is in none of its largest 26-connected components."""
    for group in groups:
        mask = np.isin(labels, group)
        if not mask.any():
            continue
        components, voxels = components_of(mask, connectivity=26)
        voxels[0] = 0
        dropped = voxels < voxels.max()
        dropped[0] = False
        if dropped.any():
            labels[dropped[components]] = BACKGROUND
