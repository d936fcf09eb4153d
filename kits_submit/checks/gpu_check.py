"""Does the GPU path hold on this machine? The same engine code as on a CPU, measured against it. Prints nothing.

A phantom is stitched by the CPU's ONNX Runtime, the reference, and by each engine of the GPU. A check passes where

    starts        the session runs on the GPU, as read back from it
    settings      with one of cuDNN's settings it answers as the CPU; the fastest is remembered (`engine.cudnn`)
    parity        logits of a small phantom agree with the CPU's, a batch of two with one by one, and a part with the
                  whole (`parity`)
    labels        at least 99.99 % of the phantom's voxels get the CPU's label
    steady        a second run, and one patch at a time, give the same labels
    throughput    it is faster than the CPU; Mvoxel/s of both
    memory        what the GPUs hold beyond what they held before stays under the limit
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kits_submit.checks.parity import LABEL_SHARE, check_parity
from kits_submit.engine.cudnn import CHOICES, Settings, remember, words
from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine, import_onnxruntime
from kits_submit.engine.protocol import Engine
from kits_submit.engine.select import gpu_present
from kits_submit.errors import DeviceError, ModelError
from kits_submit.inference.decision import decision_of
from kits_submit.inference.grid import resample, target_shape
from kits_submit.inference.intensity import air, standardise
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.stitch import batch_size, stitch
from kits_submit.machine.nvidia import gpu_bytes
from kits_submit.phantom import draw_phantom
from kits_submit.recipe import Recipe
from kits_submit.types import Image, Labels

PASS, FAIL, SKIP = "PASS", "FAIL", "SKIP"
AGREEMENT = 1 - LABEL_SHARE
MOST_GPU_MB = 8000.0  # half of the 16 GB that Grand Challenge's GPU has
_RUNS = 3
_WINS = 0.95  # less than a twentieth faster is noise
_PHANTOM = (2019, 0)  # seed and case of `make demo`


@dataclass(frozen=True)
class Check:
    """One line; SKIP where it does not apply here, which `finding` explains."""

    engine: str
    name: str
    verdict: str
    finding: str


@dataclass(frozen=True)
class Candidate:
    """An engine to check.

    - `start`: with given settings of cuDNN.
    - `content`: the ONNX file's bytes where cuDNN's settings are to be chosen for it first.
    - `optional`: that it cannot start fails nothing.
    - `half`: it computes in fp16.
    """

    name: str
    start: Callable[[Settings], Engine]
    content: bytes | None = None
    optional: bool = False
    half: bool = False


def require_gpu() -> None:
    """Raises: DeviceError: no NVIDIA GPU, or an ONNX Runtime without CUDA."""
    if not gpu_present():
        raise DeviceError("no NVIDIA GPU is visible", fix="run it on one (docker run --gpus all)")
    if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
        raise DeviceError("this ONNX Runtime is built without CUDA", fix="pip install onnxruntime-gpu")


def gpu_candidates(model: Model, also: Sequence[Model] = ()) -> tuple[Candidate, ...]:
    """CUDA with `model` and with `also`, the same network written otherwise; TensorRT where it is installed."""
    tensorrt = Candidate("tensorrt", lambda _: OnnxRuntimeEngine(model.content, "tensorrt"), optional=True)
    forms = (_on_cuda(f"cuda {other.path.stem}", other, optional=True) for other in also)
    return _on_cuda("cuda", model), *forms, tensorrt


def _on_cuda(name: str, model: Model, *, optional: bool = False) -> Candidate:
    def start(settings: Settings) -> Engine:
        return OnnxRuntimeEngine(model.content, "cuda", settings)

    return Candidate(name, start, model.content, optional, model.half)


def check_engines(model: Model, candidates: tuple[Candidate, ...], image: Image | None = None) -> Iterator[Check]:
    """Each candidate's checks in turn.

    Args:
        image: a standardised ZYX volume to run; None draws a phantom.
    """
    volume = phantom_image(model.recipe) if image is None else image
    reference = OnnxRuntimeEngine(model.content, "cpu")
    truth, cpu_s = _timed(volume, model, reference)
    cpu_rate = volume.size / cpu_s / 1e6
    held_before = gpu_bytes()
    for candidate in candidates:
        settings = CHOICES[0]
        try:
            engine = candidate.start(settings)
            yield Check(candidate.name, "starts", PASS, f"{engine.name}, {engine.device}")
        except DeviceError as error:
            yield Check(candidate.name, "starts", SKIP if candidate.optional else FAIL, error.what)
            continue
        try:
            if candidate.content is not None:
                del engine  # one session at a time holds the GPU's memory
                check, settings = _chosen(candidate, candidate.content, model, volume)
                yield check
                engine = candidate.start(settings)
            yield from _checks(candidate, engine, model, volume, truth, cpu_rate)
            yield _memory(candidate.name, held_before)
        except (DeviceError, ModelError) as error:
            yield Check(candidate.name, "runs", FAIL, error.what)


def _chosen(candidate: Candidate, content: bytes, model: Model, volume: Image) -> tuple[Check, Settings]:
    """The fastest of cuDNN's settings that answer as the CPU, remembered; the first unless another wins."""
    seconds = {}
    for index, settings in enumerate(CHOICES):
        try:
            seconds[index] = _seconds(candidate, candidate.start(settings), model, volume)
        except (DeviceError, ModelError):
            continue
    if not seconds:
        return Check(candidate.name, "settings", FAIL, "it answers as the CPU with none of cuDNN's"), CHOICES[0]
    best = min(seconds, key=seconds.__getitem__)
    if 0 in seconds and seconds[best] > _WINS * seconds[0]:
        best = 0
    kept = "remembered" if remember(content, CHOICES[best]) else "not kept: no cache, or nvidia-smi does not tell"
    times = "; ".join(f"{words(CHOICES[index])}: {s:.3f} s" for index, s in seconds.items())
    return Check(candidate.name, "settings", PASS, f"{times}; {words(CHOICES[best])} is {kept}"), CHOICES[best]


def _seconds(candidate: Candidate, engine: Engine, model: Model, volume: Image) -> float:
    check_parity(engine, model, half=candidate.half or model.half)
    _timed(volume, model, engine)  # the first run is the one in which cuDNN searches
    return min(_timed(volume, model, engine)[1] for _ in range(_RUNS))


def phantom_image(recipe: Recipe) -> Image:
    """A phantom of KiTS's size, standardised on the Recipe's grid."""
    phantom = draw_phantom(*_PHANTOM, max_slices=110)
    z, y, x = phantom.image.shape
    image = resample(phantom.image.astype(np.float32), target_shape((z, y, x), phantom.spacing_mm, recipe.spacing_mm))
    return standardise(image, recipe)


def _checks(
    candidate: Candidate, engine: Engine, model: Model, volume: Image, truth: Labels, cpu_rate: float
) -> Iterator[Check]:
    name = candidate.name
    try:
        yield Check(name, "parity", PASS, check_parity(engine, model, half=candidate.half or model.half))
    except DeviceError as error:
        yield Check(name, "parity", FAIL, error.what)
    labels, _ = _timed(volume, model, engine)
    agreement = float(np.mean(labels == truth))
    yield Check(name, "labels", _of(agreement >= AGREEMENT), f"{agreement:.4%} of {labels.size} voxels as the CPU's")
    again, seconds = _timed(volume, model, engine)
    single, _ = _timed(volume, model, engine, at_once=1)
    other = int(np.count_nonzero(again != labels)), int(np.count_nonzero(single != labels))
    yield Check(name, "steady", _of(other == (0, 0)), f"{other[0]} voxels differ run to run, {other[1]} patch by patch")
    rate = volume.size / seconds / 1e6
    yield Check(name, "throughput", _of(rate > cpu_rate), f"{rate:.1f} Mvoxel/s, the CPU {cpu_rate:.1f}")


def _memory(name: str, held_before: int | None) -> Check:
    held = gpu_bytes()
    if held is None or held_before is None:
        return Check(name, "memory", SKIP, "nvidia-smi does not tell")
    used = (held - held_before) / 1e6
    return Check(name, "memory", _of(used <= MOST_GPU_MB), f"{used:.0f} MB of at most {MOST_GPU_MB:.0f} MB")


def _of(holds: bool) -> str:
    return PASS if holds else FAIL


def _timed(volume: Image, model: Model, engine: Engine, at_once: int | None = None) -> tuple[Labels, float]:
    recipe = model.recipe
    z, y, x = volume.shape
    size = at_once or batch_size(engine, PatchPlan.of(recipe).size((z, y, x)))
    started = time.monotonic()
    probabilities = stitch(volume, recipe, engine, outside=air(recipe), batch_size=size, crop=model.crop)
    return decision_of(recipe).labels(probabilities), time.monotonic() - started
