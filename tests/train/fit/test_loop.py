"""The loop learns, is a function of its seed and stops where it should; schedules, mean weights."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor

from kits_submit.errors import ModelError
from tests.conftest import ROOT
from tests.train.training import CONFIG, trainer
from train.config import TrainConfig
from train.fit.ema import MeanWeights
from train.fit.loop import Limits, Trainer
from train.fit.schedule import Plateau, cosine
from train.network.deeplab import DeepLab3D
from train.records.reports import StepReport


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def fit(config: TrainConfig, limits: Limits | None = None) -> tuple[Trainer, list[StepReport]]:
    reports: list[StepReport] = []
    trained = trainer(config)
    trained.fit(limits or Limits(), reports.append)
    return trained, reports


def test_the_loss_of_two_patches_falls_far() -> None:
    _, reports = fit(replace(CONFIG, max_steps=60))
    losses = [report.loss for report in reports]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:2])
    assert [report.step for report in reports] == list(range(1, 61))
    assert reports[0].learning_rate == 1e-3
    assert reports[-1].learning_rate < 1e-5
    assert reports[-1].loss == pytest.approx(reports[-1].tversky + 0.5 * reports[-1].focal, abs=1e-6)


def test_a_training_is_a_function_of_its_seed() -> None:
    first, again = fit(CONFIG)[0], fit(CONFIG)[0]
    for a, b in zip(first.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = fit(replace(CONFIG, seed=1))[0]  # same first weights, other dropout
    assert not torch.equal(first.network.decoder.output.weight, other.network.decoder.output.weight)


def test_a_shifted_tumor_is_a_bias_that_the_loss_does_not_see() -> None:
    """In float64: Adam's steps of gradients near zero are rounding's, and each processor rounds its own way."""
    config = replace(CONFIG, precision="fp64")
    plain, leaning = trainer(config), trainer(replace(config, tumor_shift=1.5))
    with torch.no_grad():
        leaning.network.decoder.output.bias[2] += 1.5  # type: ignore[index]
    for one in (plain, leaning):
        one.fit(Limits(), lambda _: None)
    difference = leaning.network.decoder.output.bias - plain.network.decoder.output.bias
    assert torch.allclose(difference, torch.tensor([0.0, 0.0, 1.5], dtype=torch.float64), rtol=0, atol=1e-6)
    for a, b in zip(plain.network.encoder.parameters(), leaning.network.encoder.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-6)


def test_the_network_trains_in_channels_last() -> None:
    weight = trainer().network.decoder.refine[0].weight
    assert isinstance(weight, Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_numpy_multiplies_on_one_thread_while_torch_trains() -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}

    during: list[set[int]] = []
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        if not before:
            pytest.skip("this numpy has no OpenBLAS")
        trainer().fit(Limits(), lambda _: during.append(threads()))
        assert threads() == before == {2}
    assert during == [{1}] * CONFIG.max_steps  # type: ignore[operator]


def test_a_time_limit_ends_a_training() -> None:
    _, reports = fit(replace(CONFIG, max_steps=100_000), Limits(minutes=0.005))
    assert 1 <= len(reports) < 50
    assert reports[-1].progress <= 1


def test_the_plateau_schedule_ends_a_training() -> None:
    """Below the least rate nothing is trained; `max_epochs` ends it too."""
    config = replace(CONFIG, schedule="plateau", learning_rate=1e-12, min_learning_rate=1e-8, max_steps=None)
    assert fit(config)[1] == []
    config = replace(CONFIG, schedule="plateau", max_epochs=2, max_steps=None)
    assert len(fit(config)[1]) == 2


def test_a_training_that_diverges_is_told() -> None:
    broken = trainer()
    broken.sampler.only.image[0, 0, 0, 0, 0] = np.nan  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="the training diverged: the loss is nan"):
        broken.fit(Limits(), lambda _: None)


def test_plateau_by_hand() -> None:
    plateau = Plateau(rate=1.0, factor=0.1, patience=2, minimum=0.05)
    rates = []
    for loss in (5, 4, 4, 4, 3.9, 4, 4, 3.8):
        plateau.epoch_ended(loss)
        rates.append(plateau.rate)
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert plateau.ended


def test_the_papers_plateau_allows_twenty_epochs() -> None:
    plateau = Plateau(1e-3, 0.1, 20, 1e-8)
    for _ in range(20):
        plateau.epoch_ended(1.0)
    assert plateau.rate == 1e-3  # the first epoch lowered the loss, nineteen did not
    plateau.epoch_ended(1.0)
    assert plateau.rate == pytest.approx(1e-4)


def test_cosine_by_hand() -> None:
    assert [cosine(2.0, p) for p in (0, 0.5, 1, 1.5)] == pytest.approx([2, 1, 0, 0])
    assert cosine(2.0, 1 / 3) == pytest.approx(1.5)
    assert cosine(2.0, 0.05, warmup=0.1) == pytest.approx(0.5 * cosine(2.0, 0.05))
    assert cosine(2.0, 0.5, warmup=0.1) == pytest.approx(1.0)


def test_mean_weights_by_hand() -> None:
    """Decays min(0.2, 1/10, 2/11, ..) = 0.1, 2/11: mean 0 -> 0.9 -> 0.9 * 2/11 + 2 * 9/11 for values 1, 2."""
    network = DeepLab3D()
    bias = network.decoder.output.bias
    norm = network.encoder.stem[1]
    assert bias is not None
    mean = MeanWeights(network, 0.2)
    for value in (1.0, 2.0):
        bias.data.fill_(value)
        norm.running_mean.fill_(value)  # type: ignore[union-attr, operator]
        norm.num_batches_tracked.fill_(int(value))  # type: ignore[union-attr, operator]
        mean.update(network)
    wanted = 0.9 * 2 / 11 + 2 * 9 / 11
    state = mean.network.state_dict()
    assert state["decoder.output.bias"].tolist() == pytest.approx([wanted] * 3)
    assert state["encoder.stem.1.running_mean"].tolist() == pytest.approx([wanted] * 8)
    assert state["encoder.stem.1.num_batches_tracked"] == 2


def test_without_decay_the_mean_is_the_network() -> None:
    trained = fit(replace(CONFIG, ema_decay=0.0))[0]
    for a, b in zip(trained.network.state_dict().values(), trained.mean.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_help_needs_no_torch() -> None:
    code = "import sys, train.commands.train, export.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
