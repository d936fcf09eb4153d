"""Tversky and Focal per region against the equations a voxel at a time, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kits_submit.labels import KITS23
from kits_submit.regions import Regions
from train.fit.losses import combined_loss
from train.fit.region_losses import region_focal, region_loss, region_masks

HEC = Regions.of(KITS23)
NUMBERS = {"alpha": 0.3, "beta": 0.7, "focal_weight": 0.5, "gamma": 2.0}


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 3, 4, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(4, (2, 3, 4, 5), generator=generator)


def naive(logits: np.ndarray, labels: np.ndarray, smooth: float) -> tuple[float, float]:
    """(Tversky, Focal), a voxel at a time."""
    indices, focal = [], []
    for r, part in enumerate(HEC.parts):
        tp = fp = fn = 0.0
        for n, z, y, x in np.ndindex(labels.shape):
            g, p = labels[n, z, y, x] in part.labels, 1 / (1 + math.exp(-logits[n, r, z, y, x]))
            tp, fp, fn = tp + p * g, fp + p * (not g), fn + (1 - p) * g
            true = p if g else 1 - p
            focal.append(-((1 - true) ** 2) * math.log(true))
        indices.append((tp + smooth) / (tp + 0.3 * fp + 0.7 * fn + smooth))
    return 1 - float(np.mean(indices)), float(np.mean(focal))


@pytest.mark.parametrize("smooth", [1.0, 20.0])
def test_the_loss_equals_the_equations(smooth: float) -> None:
    logits, labels = example()
    parts = region_loss(logits, labels, HEC, smooth=smooth, **NUMBERS)
    tversky, focal = naive(logits.numpy(), labels.numpy(), smooth)
    assert parts.tversky.item() == pytest.approx(tversky, abs=1e-12)
    assert parts.focal.item() == pytest.approx(focal, abs=1e-12)
    assert parts.total.item() == pytest.approx(tversky + 0.5 * focal, abs=1e-12)


def test_per_patch_is_the_mean_of_each_patchs() -> None:
    logits, labels = example()
    got = region_loss(logits, labels, HEC, per_patch=True, **NUMBERS).tversky.item()
    each = [naive(logits[i : i + 1].numpy(), labels[i : i + 1].numpy(), 1.0)[0] for i in range(2)]
    assert got == pytest.approx(np.mean(each), abs=1e-12)


def test_a_voxel_by_hand() -> None:
    """A cyst is kidney and mass, mass, and no tumor; logits log 3, 0, log 3 are 0.75, 0.5, 0.75."""
    cyst = torch.tensor([[[[3]]]])
    assert region_masks(cyst, HEC, torch.float64).ravel().tolist() == [1, 1, 0]
    logits = torch.tensor([math.log(3), 0.0, math.log(3)], dtype=torch.float64).reshape(1, 3, 1, 1, 1)
    wanted = (0.25**2 * -math.log(0.75) + 0.5**2 * -math.log(0.5) + 0.75**2 * -math.log(0.25)) / 3
    assert region_focal(logits, region_masks(cyst, HEC, torch.float64), gamma=2.0).item() == pytest.approx(wanted)
    got = region_loss(logits, cyst, HEC, **NUMBERS).tversky.item()
    indices = [1.75 / (0.75 + 0.7 * 0.25 + 1), 1.5 / (0.5 + 0.7 * 0.5 + 1), 1 / (0.3 * 0.75 + 1)]
    assert got == pytest.approx(1 - sum(indices) / 3)


def test_a_certain_answer_costs_nothing_and_gradients_are_finite() -> None:
    labels = example()[1]
    logits = (200 * (2 * region_masks(labels, HEC, torch.float64) - 1)).requires_grad_()
    parts = region_loss(logits, labels, HEC, **NUMBERS)
    assert parts.total.item() == pytest.approx(0, abs=1e-12)
    wrong = (-logits.detach()).requires_grad_()
    region_loss(wrong, labels, HEC, **NUMBERS).total.backward()
    assert wrong.grad is not None
    assert torch.isfinite(wrong.grad).all()
    assert (
        region_loss(-logits, labels, HEC, **NUMBERS).total
        > combined_loss(torch.zeros(2, 4, 3, 4, 5, dtype=torch.float64), labels, **NUMBERS).total
    )
