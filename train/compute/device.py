"""Where a training computes and in what precision: device, autocast, gradient scaling, compiling, determinism."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from kits_submit.errors import DeviceError
from train.config import TrainConfig

_DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """`cpu`, `cuda` (this worker's own under torchrun), or `auto`: cuda where there is one.

    Raises:
        DeviceError: another name, or no GPU.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {wanted!r}", fix="use auto, cpu or cuda")
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise DeviceError("torch finds no GPU", fix="use --device cpu, or install torch for this machine's CUDA")
    if wanted == "cpu" or not present:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


class Precision:
    """What weights and patches are stored in (`dtype`), autocast for bf16 and fp16, scaled gradients for fp16.

    Raises:
        DeviceError: fp16 without a GPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "fp16" and device.type != "cuda":
            raise DeviceError("fp16 trains on a GPU alone", fix="use --precision bf16 or fp32")
        self._mixed = name in ("bf16", "fp16")
        self._autocast = _DTYPES[name]
        self.dtype = torch.float32 if self._mixed else _DTYPES[name]
        self._device = device.type
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[None]:
        """For the forward pass."""
        return torch.autocast(self._device, dtype=self._autocast, enabled=self._mixed)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Backward and one optimizer step, left out where fp16 overflowed."""
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)
        self.scaler.update()


def make_deterministic(config: TrainConfig) -> None:
    """GPU kernels that repeat bit by bit; without it cuDNN may pick the fastest. CPU kernels repeat in either case."""
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's own condition


def compiled(network: nn.Module, config: TrainConfig) -> nn.Module:
    """Through torch.compile where the config asks for it."""
    return torch.compile(network) if config.compile else network  # type: ignore[return-value]


def gpu_mb(device: torch.device) -> float:
    """Most GPU memory that torch has held, in MB (10^6 bytes); 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else 0.0
