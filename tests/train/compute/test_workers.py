"""Two workers with half the batch each are one with the whole: the parts of it, and a training started by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kits_submit.errors import DeviceError
from tests.conftest import ROOT
from tests.train.data.test_sampler import cached, label_of, sampler
from tests.train.training import SMALL, write_cases
from train.compute.device import Precision, choose_device
from train.compute.distributed import SharedBatchNorm, Workers, synchronise
from train.config import TrainConfig
from train.data.prefetch import Prefetcher
from train.fit.checkpoint import load_checkpoint
from train.network.deeplab import DeepLab3D

TORCHRUN = Path(sys.executable).parent / "torchrun"
FLAGS = {"patch": "16,16,16", "holdout": "0.25", "inference_patch": "16,16,24", "margin": "2,2,2", "precision": "fp64"}


def kits_submit(*arguments: str, workers: int = 1) -> str:
    """stderr of a command that ended well."""
    program = Path(sys.executable).parent / "kits-submit"
    launcher = [sys.executable] if workers == 1 else [str(TORCHRUN), "--nproc-per-node", str(workers)]
    command = [*launcher, str(program), *arguments]
    environment = os.environ | {"PYTHONWARNINGS": "error::UserWarning,error::FutureWarning", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_two_workers_with_half_the_batch_are_one_with_the_whole(tmp_path: Path) -> None:
    """Five steps, weights and BN statistics within 1e-5; in fp64, for Adam moves a weight whose gradient is nothing
    but rounding (the stem's one input channel, which BN rescales) by the full rate in either direction."""
    data = write_cases(tmp_path / "data", 5)
    config = replace(SMALL, max_steps=5, dropout=0.0).changed(FLAGS, source="here")
    (tmp_path / "config.json").write_text(config.to_json())
    common = ["train", "--data", str(data), "--config", str(tmp_path / "config.json"), "--threads", "1"]
    kits_submit(*common, "--out", str(tmp_path / "one"), "--batch", "4", "--patients", "4")
    log = kits_submit(*common, "--out", str(tmp_path / "two"), "--batch", "2", "--patients", "2", workers=2)
    assert log.count("5 steps, ") == 1  # the first worker alone speaks
    one, two = (load_checkpoint(tmp_path / run / "checkpoint.pt") for run in ("one", "two"))
    assert one.step == two.step == 5
    for weights in ("model", "mean"):
        a, b = getattr(one, weights), getattr(two, weights)
        worst = max(float((a[key].double() - b[key].double()).abs().max()) for key in a)
        assert worst < 1e-5
    losses = [np.loadtxt(tmp_path / run / "loss.csv", delimiter=",", skiprows=1) for run in ("one", "two")]
    np.testing.assert_allclose(*losses, atol=1e-7)
    scores = [(tmp_path / run / "scores.csv").read_text() for run in ("one", "two")]
    assert scores[0] == scores[1]


def test_workers_share_a_batch_out(tmp_path: Path) -> None:
    cases = [cached(tmp_path, label_of(50, 5), f"case_{i:05d}") for i in range(5)]
    whole = sampler(cases, batch=4, patients=4).batch(3)
    parts = [sampler(cases, batch=2, patients=2, rank=rank, world=2).batch(3) for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([part.image for part in parts]), whole.image)
    np.testing.assert_array_equal(np.concatenate([part.label for part in parts]), whole.label)


def test_a_worker_has_its_own_patients(tmp_path: Path) -> None:
    """39 patches of 13 patients per worker (paper section 2.4): 26 cases, the first 13 and the last 13 of a step."""
    cases = [cached(tmp_path, label_of(3, 3), f"case_{i:05d}") for i in range(30)]
    for rank in (0, 1):
        drawn = sampler(cases, batch=39, patients=13, rank=rank, world=2)
        order = drawn.patients_of(0)
        used = {order[place * len(order) // drawn.size].case_id for place in drawn.places}
        assert used == {case.case_id for case in order[13 * rank : 13 * rank + 13]}


def test_shared_batch_norm_of_one_worker_is_torchs() -> None:
    torch.manual_seed(0)
    torchs, ours = nn.BatchNorm3d(3).double(), SharedBatchNorm(3).double()
    for norm in (torchs, ours):
        nn.init.constant_(norm.weight, 1.5)
        nn.init.constant_(norm.bias, -0.25)
    for _ in range(2):
        x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [norm(value) for norm, value in zip((torchs, ours), inputs, strict=True)]
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.pow(3).sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
        torch.testing.assert_close(torchs.weight.grad, ours.weight.grad)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(getattr(torchs, name), getattr(ours, name))
    torch.testing.assert_close(torchs.eval()(x), ours.eval()(x))


def test_every_batch_norm_is_synchronised_under_its_own_name() -> None:
    network = DeepLab3D()
    names, weights = list(network.state_dict()), [id(p) for p in network.parameters()]
    synchronise(network, Workers(0, 2), torch.device("cpu"))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
    assert all(isinstance(norm, SharedBatchNorm) for norm in norms)
    assert len(norms) == 31
    assert list(network.state_dict()) == names
    assert [id(p) for p in network.parameters()] == weights


def test_one_worker_is_left_alone() -> None:
    alone, network, value = Workers(), DeepLab3D(), torch.ones(2)
    synchronise(network, alone, torch.device("cpu"))
    assert not any(isinstance(m, SharedBatchNorm) for m in network.modules())
    assert alone.sum(value) is value
    assert alone.wrap(network, torch.device("cpu")) is network
    assert alone.map(lambda n: n * n, [1, 2, 3]) == [1, 4, 9]


def test_patches_are_read_ahead_and_handed_out_in_order() -> None:
    asked: list[int] = []

    def make(step: int) -> int:
        asked.append(step)
        return 10 * step

    with Prefetcher(make, threads=2, last=6) as ahead:
        assert [ahead.get(step) for step in range(2, 6)] == [20, 30, 40, 50]
    assert sorted(asked) == [2, 3, 4, 5]
    with Prefetcher(make, threads=0, last=6) as plain:
        assert plain.get(1) == 10


def test_what_reading_ahead_raised_is_raised_where_it_is_needed() -> None:
    def make(step: int) -> int:
        raise ValueError(f"step {step}")

    with Prefetcher(make, threads=1, last=9) as ahead, pytest.raises(ValueError, match="step 0"):
        ahead.get(0)


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(DeviceError, match="device 'tpu'; use auto, cpu or cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="torch finds no GPU"):
            choose_device("cuda")
        assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="fp16 trains on a GPU alone"):
        Precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "dtype", "inside"),
    [
        ("fp32", torch.float32, torch.float32),
        ("bf16", torch.float32, torch.bfloat16),
        ("fp64", torch.float64, torch.float64),
    ],
)
def test_precision_by_name(name: str, dtype: torch.dtype, inside: torch.dtype) -> None:
    precision = Precision(name, torch.device("cpu"))
    layer = nn.Linear(2, 1).to(precision.dtype)
    assert precision.dtype == dtype
    with precision.autocast():
        assert layer(torch.ones(1, 2, dtype=precision.dtype)).dtype == inside


def test_flags_of_this_test_are_fields() -> None:
    assert TrainConfig().changed(FLAGS, source="here").precision == "fp64"
