"""What would run here, and whether it can. Prints nothing."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kits_submit.batch.budget import least_bytes
from kits_submit.checks.parity import check_parity
from kits_submit.engine.model import Model, load_model
from kits_submit.engine.onnxruntime import import_onnxruntime
from kits_submit.engine.openvino import BF16, openvino_installed
from kits_submit.engine.select import gpu_present, select_engine
from kits_submit.errors import BudgetError, KitsError, OutputError
from kits_submit.machine.limits import free_memory
from kits_submit.machine.nvidia import gpus
from kits_submit.recipe import Recipe

Fact = tuple[str, str]

_PACKAGES = (
    "numpy", "scipy", "nibabel", "isal", "onnxruntime-gpu", "onnxruntime", "openvino", "nvidia-cuda-runtime-cu12",
    "nvidia-cudnn-cu12", "tensorrt",
)  # fmt: skip
_MEDIAN_CASE = ((108, 512, 512), (3.0, 0.78, 0.78))  # of KiTS19
_LARGEST_CASE = ((1059, 512, 512), (0.5, 0.78, 0.78))  # of KiTS19, case_00151
_LEAST_DISK_BYTES = 100 << 20


def examine(model_path: Path, device: str, output: Path | None = None) -> tuple[list[Fact], list[KitsError]]:
    """Facts for people, (name, value) each, and all that makes this machine unfit.

    Args:
        output: a folder that masks are to be written into; temporary files are tried in any case.
    """
    facts = [*_system(), *_gpu()]
    failures: list[KitsError] = []
    try:
        model = load_model(model_path)
        facts += _model(model)
        selection = select_engine(device, model)
        facts += [("stepped down", step) for step in selection.steps]
        facts += [("engine", selection.engine.name), ("device", selection.engine.device)]
        facts.append(("parity with CPU", check_parity(selection.engine, model)))
        facts += _in_bf16(device, model)
    except KitsError as failure:
        failures.append(failure)
    else:
        facts += _memory(model.recipe, failures)
    for name, folder in (("temporary files", Path(tempfile.gettempdir())), ("output", output)):
        if folder is not None:
            facts += _disk(name, folder, failures)
    return facts, failures


def _system() -> Iterator[Fact]:
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "user", f"id {os.getuid()}, {len(os.sched_getaffinity(0))} processors"
    for name in _PACKAGES:
        try:
            yield "package", f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    yield "providers", ", ".join(import_onnxruntime().get_available_providers())


def _gpu() -> Iterator[Fact]:
    if not gpu_present():
        yield "NVIDIA GPU", "none visible"
        return
    told = gpus()
    for gpu in told:
        yield "NVIDIA GPU", f"{gpu.name}, {gpu.memory}, driver {gpu.driver}"
    if not told:
        yield "NVIDIA GPU", "visible, but nvidia-smi does not answer"
    yield "CUDA of the driver", _driver_cuda()


def _driver_cuda() -> str:
    """The newest CUDA that the driver runs, as the driver itself says."""
    number = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)):
            return "unknown: the driver does not answer"
    except (OSError, AttributeError):
        return "unknown: no libcuda.so.1"
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _model(model: Model) -> Iterator[Fact]:
    recipe = model.recipe
    spacing = " x ".join(f"{s:g}" for s in recipe.spacing_mm)
    low, high = recipe.clip_hu
    yield "model", f"{model.path} ({len(model.content) / 1e6:.2f} MB)"
    yield "sha256", model.sha256
    yield "recipe", f"{spacing} mm, {low:g} to {high:g} HU, patch {recipe.patch}, margin {recipe.margin}"
    practice = recipe.practice.document()
    if practice:
        yield "practice", ", ".join(f"{name} {value}" for name, value in practice.items())


def _in_bf16(device: str, model: Model) -> Iterator[Fact]:
    """What `--precision auto` would find here."""
    if device not in ("auto", "openvino") or not openvino_installed():
        return
    try:
        yield "bf16", check_parity(select_engine("openvino", model, precision=BF16).engine, model)
    except KitsError as failure:
        yield "bf16", f"left: {failure.what}"


def _memory(recipe: Recipe, failures: list[KitsError]) -> Iterator[Fact]:
    """Free memory, and whether KiTS19's median and largest case fit into it; the median must."""
    free = free_memory()
    if free is None:
        yield "free memory", "unknown: this system does not tell"
        return
    source = f"{free.free_bytes / 1e9:.1f} GB of {free.limit_bytes / 1e9:.1f} GB {free.source}"
    yield "free memory", source
    for name, (shape, spacing_mm) in (("median case", _MEDIAN_CASE), ("largest case", _LARGEST_CASE)):
        needed = least_bytes(shape, spacing_mm, recipe)
        fits = needed <= free.free_bytes
        yield f"KiTS19's {name}", f"needs {needed / 1e9:.1f} GB: {'fits' if fits else 'does not fit'}"
        if not fits and (shape, spacing_mm) == _MEDIAN_CASE:
            failures.append(
                BudgetError(f"a median case needs {needed / 1e9:.1f} GB, free: {source}", fix="give it more memory")
            )


def _disk(name: str, folder: Path, failures: list[KitsError]) -> Iterator[Fact]:
    while not folder.exists() and folder != folder.parent:  # a run makes it
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        fix = f"give a folder that this user (id {os.getuid()}) may write"
        failures.append(OutputError(f"cannot be written ({error.strerror or error})", fix=fix, path=folder))
        yield name, f"{folder} cannot be written"
        return
    yield name, f"{folder} can be written, {free / 1e9:.1f} GB free"
    if free < _LEAST_DISK_BYTES:
        failures.append(OutputError(f"only {free / 1e6:.0f} MB are free", fix="make space", path=folder))
