"""Does the GPU path hold on this machine? The same engine code as on a CPU, measured against it. Prints nothing.

A phantom is stitched by the CPU's ONNX Runtime, the reference, and by each engine of the GPU. A check passes where

    starts        the session runs on the GPU, as read back from it
    parity        logits of a small phantom agree with the CPU's, and a batch of two with one by one (`parity`)
    labels        at least 99.99 % of the phantom's voxels get the CPU's label
    steady        a second run, and one patch at a time, give the same labels
    throughput    it is faster than the CPU; Mvoxel/s of both
    memory        what the process holds on the GPU stays under the limit
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine, import_onnxruntime
from kits_submit.engine.protocol import Engine
from kits_submit.engine.select import gpu_present
from kits_submit.errors import DeviceError
from kits_submit.grid import resample, target_shape
from kits_submit.intensity import air, standardise
from kits_submit.parity import check_parity
from kits_submit.patches import PatchPlan
from kits_submit.phantom import draw_phantom
from kits_submit.recipe import Recipe
from kits_submit.stitch import stitch
from kits_submit.types import Image, Labels

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
AGREEMENT = 0.9999
MOST_GPU_MB = 8000.0  # half of the 16 GB that Grand Challenge's GPU has
_PHANTOM = (2019, 0)  # seed and case of `make demo`
_MEMORY_QUERY = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Check:
    """One line; SKIP where it does not apply here, which `finding` explains."""

    engine: str
    name: str
    verdict: str
    finding: str


@dataclass(frozen=True)
class Candidate:
    """An engine to check. `optional`: that it cannot start fails nothing."""

    name: str
    start: Callable[[], Engine]
    optional: bool = False


def require_gpu() -> None:
    """Raises: DeviceError: no NVIDIA GPU, or an ONNX Runtime without CUDA."""
    if not gpu_present():
        raise DeviceError("no NVIDIA GPU is visible", fix="run it on one (docker run --gpus all)")
    if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
        raise DeviceError("this ONNX Runtime is built without CUDA", fix="pip install onnxruntime-gpu")


def gpu_candidates(model: Model, half: Model | None = None) -> tuple[Candidate, ...]:
    """CUDA with `model`, and with `half` (the same in fp16) where it is given; TensorRT where it is installed."""
    cuda = Candidate("cuda fp32", lambda: OnnxRuntimeEngine(model.content, "cuda"))
    tensorrt = Candidate("tensorrt", lambda: OnnxRuntimeEngine(model.content, "tensorrt"), optional=True)
    if half is None:
        return cuda, tensorrt
    return cuda, Candidate("cuda fp16", lambda: OnnxRuntimeEngine(half.content, "cuda")), tensorrt


def check_engines(model: Model, candidates: tuple[Candidate, ...], image: Image | None = None) -> Iterator[Check]:
    """Each candidate's checks in turn.

    Args:
        image: a standardised ZYX volume to run; None draws a phantom.
    """
    volume = phantom_image(model.recipe) if image is None else image
    reference = OnnxRuntimeEngine(model.content, "cpu")
    truth, cpu_s = _timed(volume, model.recipe, reference)
    cpu_rate = volume.size / cpu_s / 1e6
    for candidate in candidates:
        try:
            engine = candidate.start()
        except DeviceError as error:
            yield Check(candidate.name, "starts", SKIP if candidate.optional else FAIL, error.what)
            continue
        yield Check(candidate.name, "starts", PASS, f"{engine.name}, {engine.device}")
        try:
            yield from _checks(candidate.name, engine, model, volume, truth, cpu_rate)
        except DeviceError as error:
            yield Check(candidate.name, "runs", FAIL, error.what)


def phantom_image(recipe: Recipe) -> Image:
    """A phantom of KiTS's size, standardised on the Recipe's grid."""
    phantom = draw_phantom(*_PHANTOM, max_slices=110)
    z, y, x = phantom.image.shape
    image = resample(phantom.image.astype(np.float32), target_shape((z, y, x), phantom.spacing_mm, recipe.spacing_mm))
    return standardise(image, recipe)


def _checks(name: str, engine: Engine, model: Model, volume: Image, truth: Labels, cpu_rate: float) -> Iterator[Check]:
    try:
        yield Check(name, "parity", PASS, check_parity(engine, model))
    except DeviceError as error:
        yield Check(name, "parity", FAIL, error.what)
    labels, _ = _timed(volume, model.recipe, engine)
    agreement = float(np.mean(labels == truth))
    yield Check(name, "labels", _of(agreement >= AGREEMENT), f"{agreement:.4%} of {labels.size} voxels as the CPU's")
    again, seconds = _timed(volume, model.recipe, engine)
    single, _ = _timed(volume, model.recipe, engine, batch_size=1)
    other = int(np.count_nonzero(again != labels)), int(np.count_nonzero(single != labels))
    yield Check(name, "steady", _of(other == (0, 0)), f"{other[0]} voxels differ run to run, {other[1]} patch by patch")
    rate = volume.size / seconds / 1e6
    yield Check(name, "throughput", _of(rate > cpu_rate), f"{rate:.1f} Mvoxel/s, the CPU {cpu_rate:.1f}")
    used = gpu_memory_mb()
    if used is None:
        yield Check(name, "memory", SKIP, "nvidia-smi does not tell")
    else:
        yield Check(name, "memory", _of(used <= MOST_GPU_MB), f"{used:.0f} MB of at most {MOST_GPU_MB:.0f} MB")


def _of(holds: bool) -> str:
    return PASS if holds else FAIL


def _timed(volume: Image, recipe: Recipe, engine: Engine, batch_size: int | None = None) -> tuple[Labels, float]:
    plan = PatchPlan.of(recipe)
    size = plan.size(volume.shape)
    at_once = batch_size or max(1, engine.batch_voxels // int(np.prod(size)))
    started = time.monotonic()
    probabilities = stitch(volume, recipe, engine, outside=air(recipe), batch_size=at_once)
    return probabilities.argmax(axis=0).astype(np.uint8), time.monotonic() - started


def gpu_memory_mb() -> float | None:
    """What the processes of this machine hold on its GPUs, the most of one; None where nvidia-smi does not tell."""
    try:
        told = subprocess.run(_MEMORY_QUERY, capture_output=True, text=True, check=True, timeout=20).stdout  # noqa: S603
        return max((float(line.split(",")[1]) for line in told.splitlines()), default=None)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
