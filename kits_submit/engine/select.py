"""The ladder: which engine runs, and why the faster ones do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.engine.openvino import BF16, FP32, OpenVinoEngine, openvino_installed
from kits_submit.engine.protocol import Engine
from kits_submit.errors import DeviceError

DEVICES = ("auto", "cuda", "tensorrt", "openvino", "cpu")
PRECISIONS = (FP32, BF16, "auto")
_IN_BF16 = "openvino in bf16"
_GPU_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


@dataclass
class Selection:
    """- `steps`: what was tried above the engine that runs, and why it does not run, one line each.
    - `lower`: the rungs below it, by name, each started only when it is needed.
    """

    engine: Engine
    steps: tuple[str, ...] = ()
    rung: str = ""
    lower: list[tuple[str, Callable[[], Engine]]] = field(default_factory=list)

    def step_down(self, reason: str) -> bool:
        """Take the next rung that starts, for the rest of the run; False where there is none."""
        self.steps += (f"{self.rung or self.engine.device}: {reason}",)
        while self.lower:
            self.rung, start = self.lower.pop(0)
            try:
                self.engine = start()
            except DeviceError as error:
                self.steps += (f"{self.rung}: {error.what}",)
                continue
            return True
        return False


def gpu_present() -> bool:
    """An NVIDIA device node (Linux, WSL). Asked first: without one, CUDA's libraries are loaded in vain."""
    return any(node.exists() for node in _GPU_FILES)


def select_engine(
    device: str, model: Model, *, require_gpu: bool = False, threads: int | None = None, precision: str = FP32
) -> Selection:
    """The engine for `device`; `auto` takes the first rung that starts: cuda, openvino, cpu.

    Args:
        precision: of OpenVINO's arithmetic. `bf16`: that and nothing below it; `auto`: bf16 first, and fp32 where it
            does not start or `checks.parity` finds that it answers otherwise.
        require_gpu: leave the rungs without a GPU off the ladder.
        threads: of an engine on the CPU; None: as many as there are processors for this process.

    Raises:
        DeviceError: an unknown device, the one asked for does not start, or no GPU runs where one is required.
    """
    _refuse(device, precision, require_gpu=require_gpu)
    rungs = _rungs(model, threads)
    if precision == BF16:
        return Selection(rungs[_IN_BF16](), rung=_IN_BF16)
    if device != "auto" and (device, precision) != ("openvino", "auto"):
        return Selection(rungs[device](), rung=device)
    names = _names(device, precision, require_gpu=require_gpu)
    ladder = [(name, rungs[name]) for name in names]
    steps: list[str] = []
    while ladder:
        rung, start = ladder.pop(0)
        reason = _not_worth_trying(rung)
        if reason is None:
            try:
                return Selection(start(), tuple(steps), rung, ladder)
            except DeviceError as error:
                if not ladder and not require_gpu:
                    raise
                reason = error.what
        steps.append(f"{rung}: {reason}")
    raise DeviceError(f"a GPU is required, and none runs ({'; '.join(steps)})", fix="leave --require-gpu out")


def _refuse(device: str, precision: str, *, require_gpu: bool) -> None:
    """What cannot be meant."""
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}", fix=f"use one of {', '.join(DEVICES)}")
    if require_gpu and device in ("openvino", "cpu"):
        raise DeviceError(f"a GPU is required, and the device asked for is {device}", fix="use --device auto or cuda")
    if precision not in PRECISIONS:
        raise DeviceError(f"unknown precision {precision!r}", fix=f"use one of {', '.join(PRECISIONS)}")
    if precision == BF16 and (device not in ("auto", "openvino") or require_gpu):
        raise DeviceError(f"bf16 is OpenVINO's, not {device}'s", fix="use --device openvino, or --precision fp32")


def _names(device: str, precision: str, *, require_gpu: bool) -> tuple[str, ...]:
    on_cpu = (_IN_BF16, "openvino") if precision == "auto" else ("openvino",)
    if device == "openvino":
        return on_cpu
    return ("cuda",) if require_gpu else ("cuda", *on_cpu, "cpu")


def _rungs(model: Model, threads: int | None) -> dict[str, Callable[[], Engine]]:
    return {
        "cuda": lambda: _on_gpu(model, "cuda"),
        "tensorrt": lambda: _on_gpu(model, "tensorrt"),
        _IN_BF16: lambda: OpenVinoEngine(model.content, threads, BF16, one_member=model.one_member),
        "openvino": lambda: OpenVinoEngine(model.content, threads, one_member=model.one_member),
        "cpu": lambda: OnnxRuntimeEngine(model.content, "cpu", threads=threads, one_member=model.one_member),
    }


def _on_gpu(model: Model, device: str) -> Engine:
    if not gpu_present():
        raise DeviceError("no NVIDIA GPU is visible", fix="run on one (docker run --gpus all), or use --device auto")
    return OnnxRuntimeEngine(model.content, device, one_member=model.one_member)


def _not_worth_trying(rung: str) -> str | None:
    if rung == "cuda" and not gpu_present():
        return "no NVIDIA GPU is visible"
    if rung in (_IN_BF16, "openvino") and not openvino_installed():
        return "not installed"
    return None
