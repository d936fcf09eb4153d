"""Tversky + w x Focal of a network that answers with a sigmoid per region (`kits_submit.regions`).

    Tversky index of region r, as of a class in `train.fit.losses`, over p = sigmoid(logit) and g = "the voxel's class
    is one of r's". The loss is one minus the mean over the regions.

    Focal loss (Lin et al., ICCV 2017, eq. 4): the mean over voxels and regions of -(1 - p_t)^gamma log p_t,
    p_t = p inside the region and 1 - p outside. No alpha: the paper's Focal has none.

Overlapping regions are what the winners of KiTS21 and KiTS23 train: what is scored is what is learned, and a tumor
taken for a cyst is still right as kidney and as mass.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kits_submit.regions import Regions
from train.fit.losses import SMOOTH_VOXELS, LossParts, Reduce, tversky_index


def region_loss(
    logits_NRZYX: Tensor,
    labels_NZYX: Tensor,
    regions: Regions,
    *,
    alpha: float,
    beta: float,
    focal_weight: float,
    gamma: float,
    smooth: float = SMOOTH_VOXELS,
    per_patch: bool = False,
    reduce: Reduce | None = None,
) -> LossParts:
    """The loss of one batch; arguments as `train.fit.losses.combined_loss`. Labels are int64, class numbers."""
    true = region_masks(labels_NZYX, regions, logits_NRZYX.dtype)
    axes = (2, 3, 4) if per_patch else (0, 2, 3, 4)
    predicted = torch.sigmoid(logits_NRZYX)
    sums = torch.stack([(predicted * true).sum(axes), predicted.sum(axes), true.sum(axes)])
    index = tversky_index(sums if per_patch or reduce is None else reduce(sums), alpha, beta, smooth)
    tversky = 1 - index.mean()
    focal = region_focal(logits_NRZYX, true, gamma=gamma)
    return LossParts(tversky + focal_weight * focal, tversky, focal)


def region_focal(logits_NRZYX: Tensor, true_NRZYX: Tensor, *, gamma: float) -> Tensor:
    """Mean of -(1 - p_t)^gamma log p_t over voxels and regions; p_t: sigmoid(logit) inside, sigmoid(-logit) outside."""
    log_true = functional.logsigmoid(logits_NRZYX * (2 * true_NRZYX - 1))
    return -((1 - log_true.exp()) ** gamma * log_true).mean()


def region_masks(labels_NZYX: Tensor, regions: Regions, dtype: torch.dtype) -> Tensor:
    """NRZYX, 1 where a voxel's class is one of the region's."""
    classes = 1 + max(max(part.labels) for part in regions.parts)
    table = torch.zeros(classes, len(regions), dtype=dtype, device=labels_NZYX.device)
    for channel, part in enumerate(regions.parts):
        table[list(part.labels), channel] = 1
    return torch.stack([table[:, channel][labels_NZYX] for channel in range(len(regions))], dim=1)
