"""The ladder: which engine runs, and why the faster ones do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.engine.openvino import OpenVinoEngine, openvino_installed
from kits_submit.engine.protocol import Engine
from kits_submit.errors import DeviceError

DEVICES = ("auto", "cuda", "tensorrt", "openvino", "cpu")
_GPU_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


@dataclass(frozen=True)
class Selection:
    """- `steps`: what was tried above the engine that runs, and why it does not run, one line each."""

    engine: Engine
    steps: tuple[str, ...] = field(default=())


def gpu_present() -> bool:
    """An NVIDIA device node (Linux, WSL). Asked first, for ONNX Runtime prints an error line where there is none."""
    return any(node.exists() for node in _GPU_FILES)


def select_engine(device: str, model: Model) -> Selection:
    """The engine for `device`; `auto` takes the first rung that starts: cuda, openvino, cpu.

    Raises:
        DeviceError: an unknown device, or the one asked for does not start.
    """
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}", fix=f"use one of {', '.join(DEVICES)}")
    if device != "auto":
        return Selection(_rungs(model)[device]())
    steps: list[str] = []
    for rung in ("cuda", "openvino"):
        reason = _not_worth_trying(rung)
        if reason is None:
            try:
                return Selection(_rungs(model)[rung](), tuple(steps))
            except DeviceError as error:
                reason = error.what
        steps.append(f"{rung}: {reason}")
    return Selection(_rungs(model)["cpu"](), tuple(steps))


def _rungs(model: Model) -> dict[str, Callable[[], Engine]]:
    return {
        "cuda": lambda: _on_gpu(model, "cuda"),
        "tensorrt": lambda: _on_gpu(model, "tensorrt"),
        "openvino": lambda: OpenVinoEngine(model.content),
        "cpu": lambda: OnnxRuntimeEngine(model.content, "cpu"),
    }


def _on_gpu(model: Model, device: str) -> Engine:
    if not gpu_present():
        raise DeviceError("no NVIDIA GPU is visible", fix="run on one (docker run --gpus all), or use --device auto")
    return OnnxRuntimeEngine(model.content, device)


def _not_worth_trying(rung: str) -> str | None:
    if rung == "cuda" and not gpu_present():
        return "no NVIDIA GPU is visible"
    if rung == "openvino" and not openvino_installed():
        return "not installed"
    return None
