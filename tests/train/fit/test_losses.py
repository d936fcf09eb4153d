"""Losses against numbers derived by hand and against numpy written from the papers' equations."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from train.fit.losses import combined_loss, focal_loss, tversky_loss

Float = npt.NDArray[np.float64]


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 3, 4, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(3, (2, 3, 4, 5), generator=generator)


def naive_tversky(p: Float, labels: npt.NDArray[np.int64], alpha: float, beta: float) -> float:
    """Salehi et al., eq. 3, a voxel at a time."""
    indices = []
    for k in (1, 2):
        tp = fp = fn = 0.0
        for n, z, y, x in np.ndindex(labels.shape):
            g = float(labels[n, z, y, x] == k)
            q = p[n, k, z, y, x]
            tp, fp, fn = tp + q * g, fp + q * (1 - g), fn + (1 - q) * g
        indices.append((tp + 1) / (tp + alpha * fp + beta * fn + 1))
    return 1 - sum(indices) / len(indices)


def naive_focal(p: Float, labels: npt.NDArray[np.int64], gamma: float) -> float:
    """Lin et al., eq. 4, a voxel at a time."""
    true = [p[n, labels[n, z, y, x], z, y, x] for n, z, y, x in np.ndindex(labels.shape)]
    return float(np.mean([-((1 - q) ** gamma) * math.log(q) for q in true]))


def test_tversky_equals_the_equation() -> None:
    logits, labels = example()
    p = logits.softmax(1)
    got = tversky_loss(p, labels, alpha=0.3, beta=0.7).item()
    assert got == pytest.approx(naive_tversky(p.numpy(), labels.numpy(), 0.3, 0.7), abs=1e-12)


def test_tversky_per_patch_is_the_mean_of_each_patchs() -> None:
    logits, labels = example()
    p = logits.softmax(1)
    got = tversky_loss(p, labels, alpha=0.3, beta=0.7, per_patch=True).item()
    each = [naive_tversky(p[i : i + 1].numpy(), labels[i : i + 1].numpy(), 0.3, 0.7) for i in range(len(p))]
    assert len(each) > 1
    assert got == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_equals_the_equation(gamma: float) -> None:
    logits, labels = example()
    got = focal_loss(logits.log_softmax(1), labels, gamma=gamma).item()
    assert got == pytest.approx(naive_focal(logits.softmax(1).numpy(), labels.numpy(), gamma), abs=1e-12)


def test_the_sum() -> None:
    logits, labels = example()
    parts = combined_loss(logits, labels, alpha=0.3, beta=0.7, focal_weight=0.5, gamma=2.0)
    p = logits.softmax(1).numpy()
    wanted = naive_tversky(p, labels.numpy(), 0.3, 0.7) + 0.5 * naive_focal(p, labels.numpy(), 2.0)
    assert parts.total.item() == pytest.approx(wanted, abs=1e-12)
    assert parts.total.item() == pytest.approx(parts.tversky.item() + 0.5 * parts.focal.item(), abs=1e-12)


def hard(labels: list[int]) -> Tensor:
    """Probabilities 1, 0 of a row of labels, (1, 3, 1, 1, n)."""
    return functional.one_hot(torch.tensor(labels), 3).T.double().reshape(1, 3, 1, 1, len(labels))


def row(labels: list[int]) -> Tensor:
    return torch.tensor(labels).reshape(1, 1, 1, len(labels))


def test_tversky_by_hand() -> None:
    """Truth 1 1 1 2 0 0, predicted 1 1 0 0 1 0. Kidney: TP 2, FP 1, FN 1. Tumor: TP 0, FP 0, FN 1; smoothing 1."""
    kidney = (2 + 1) / (2 + 0.3 * 1 + 0.7 * 1 + 1)
    tumor = (0 + 1) / (0 + 0.3 * 0 + 0.7 * 1 + 1)
    got = tversky_loss(hard([1, 1, 0, 0, 1, 0]), row([1, 1, 1, 2, 0, 0]), alpha=0.3, beta=0.7).item()
    assert got == pytest.approx(1 - (kidney + tumor) / 2)


def test_beta_weighs_a_missed_voxel_and_alpha_an_invented_one() -> None:
    """Truth kidney 1 1, one missed: T = (1 + 1) / (1 + 0.7 + 1); truth 1 0, one invented: (1 + 1) / (1 + 0.3 + 1)."""
    missed = tversky_loss(hard([1, 0]), row([1, 1]), alpha=0.3, beta=0.7).item()
    invented = tversky_loss(hard([1, 1]), row([1, 0]), alpha=0.3, beta=0.7).item()
    assert missed == pytest.approx(1 - (2 / 2.7 + 1) / 2)
    assert invented == pytest.approx(1 - (2 / 2.3 + 1) / 2)


def test_tversky_of_half_and_half_is_dice() -> None:
    logits, labels = example()
    p = logits.softmax(1)
    dice = [2 * (p[:, k] * (labels == k)).sum() / (p[:, k].sum() + (labels == k).sum()) for k in (1, 2)]
    got = tversky_loss(p, labels, alpha=0.5, beta=0.5, smooth=0.0)
    assert got.item() == pytest.approx(1 - (dice[0] + dice[1]).item() / 2)


def test_extremes() -> None:
    labels = [0, 1, 2, 2]
    assert tversky_loss(hard(labels), row(labels), alpha=0.3, beta=0.7).item() == pytest.approx(0)
    assert tversky_loss(hard([0, 0, 0, 0]), row([0, 0, 0, 0]), alpha=0.3, beta=0.7).item() == pytest.approx(0)


def test_focal_by_hand() -> None:
    """p_t = 0.5 everywhere at gamma 2: 0.25 log 2. At p_t = 1: 0."""
    even = torch.tensor([0.0, 0.0, -math.inf]).reshape(1, 3, 1, 1, 1).double().log_softmax(1)
    assert focal_loss(even, row([1]), gamma=2.0).item() == pytest.approx(0.25 * math.log(2))
    certain = torch.tensor([200.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1).double().log_softmax(1)
    assert focal_loss(certain, row([0]), gamma=2.0).item() == pytest.approx(0)


def test_gradients_are_finite_at_certainty() -> None:
    for wrong in (0, 1):
        logits = torch.tensor([300.0, -300.0, 0.0]).reshape(1, 3, 1, 1, 1).requires_grad_()
        combined_loss(logits, row([wrong]), alpha=0.3, beta=0.7, focal_weight=0.5, gamma=2.0).total.backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
