"""Tversky + w x Focal (paper section 2.2, Table 3).

    Tversky index of class k (Salehi et al., arXiv 1706.05721, eq. 3), sums over every voxel of the batch:
        T_k = (sum p g + s) / (sum p g + alpha sum p (1 - g) + beta sum (1 - p) g + s)
    alpha weighs false positives and beta false negatives; alpha = beta = 0.5 is the Dice index. The loss is one minus
    the mean of T_k over the foreground classes.

    Focal loss (Lin et al., ICCV 2017, eq. 4): the mean over voxels of -(1 - p_t)^gamma log p_t, p_t the probability of
    the voxel's true class.

What the paper leaves open: the probabilities are a softmax's; sums run over the batch rather than a patch, since a
patch need not hold each class (per patch on request: a batch's sums are its largest tumors'); smoothing s is one voxel,
so that a class absent from the batch gives a finite gradient and little reward; Focal carries no class weight (the
paper names gamma alone) and counts all classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SMOOTH_VOXELS = 1.0

Reduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossParts:
    """Scalars: `total` = `tversky` + w x `focal`."""

    total: Tensor
    tversky: Tensor
    focal: Tensor


def combined_loss(
    logits_NKZYX: Tensor,
    labels_NZYX: Tensor,
    *,
    alpha: float,
    beta: float,
    focal_weight: float,
    gamma: float,
    smooth: float = SMOOTH_VOXELS,
    per_patch: bool = False,
    reduce: Reduce | None = None,
) -> LossParts:
    """The paper's loss of one batch; one log-softmax serves both terms.

    Args:
        per_patch: Tversky of each patch alone, then their mean.
        reduce: sums a tensor over all workers, differentiably (`train.compute.distributed`), so that Tversky's sums run
            over the whole batch. `focal`, and Tversky per patch, stay this worker's own: the mean over workers is the
            whole batch's.
    """
    log_probabilities = functional.log_softmax(logits_NKZYX, dim=1)
    probabilities = log_probabilities.exp()
    tversky = tversky_loss(
        probabilities, labels_NZYX, alpha=alpha, beta=beta, smooth=smooth, per_patch=per_patch, reduce=reduce
    )
    focal = focal_loss(log_probabilities, labels_NZYX, gamma=gamma)
    return LossParts(tversky + focal_weight * focal, tversky, focal)


def tversky_loss(
    probabilities_NKZYX: Tensor,
    labels_NZYX: Tensor,
    *,
    alpha: float,
    beta: float,
    smooth: float = SMOOTH_VOXELS,
    per_patch: bool = False,
    reduce: Reduce | None = None,
) -> Tensor:
    """One minus the mean Tversky index over the classes above 0. Labels are int64.

    A class neither predicted nor present has index 1; predicted though absent, s / (s + alpha FP); present though not
    predicted, s / (s + beta FN).
    """
    axes = (1, 2, 3) if per_patch else (0, 1, 2, 3)
    sums = []
    for k in range(1, probabilities_NKZYX.shape[1]):
        predicted = probabilities_NKZYX[:, k]
        true = (labels_NZYX == k).to(predicted.dtype)
        sums.append(torch.stack([(predicted * true).sum(axes), predicted.sum(axes), true.sum(axes)]))
    stacked = torch.stack(sums)
    summed = stacked if per_patch or reduce is None else reduce(stacked)
    return 1 - tversky_index(summed.transpose(0, 1), alpha, beta, smooth).mean()


def tversky_index(sums: Tensor, alpha: float, beta: float, smooth: float) -> Tensor:
    """Of sum p g, sum p and sum g, along the first axis."""
    hit, predicted_all, true_all = sums.unbind(0)
    wrong = alpha * (predicted_all - hit) + beta * (true_all - hit)
    return (hit + smooth) / (hit + wrong + smooth)


def focal_loss(log_probabilities_NKZYX: Tensor, labels_NZYX: Tensor, *, gamma: float) -> Tensor:
    """Mean of -(1 - p_t)^gamma log p_t over every voxel; gamma 0 is the cross-entropy. Labels are int64."""
    log_true = log_probabilities_NKZYX.gather(1, labels_NZYX.unsqueeze(1))
    return -((1 - log_true.exp()) ** gamma * log_true).mean()
