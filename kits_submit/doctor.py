"""What would run here, and whether the model is whole. Prints nothing."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from kits_submit.engine.model import Model, load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine, import_onnxruntime
from kits_submit.engine.protocol import Engine
from kits_submit.engine.select import gpu_present, select_engine
from kits_submit.errors import KitsError, ModelError

_PACKAGES = ("numpy", "scipy", "nibabel", "isal", "onnxruntime-gpu", "onnxruntime", "openvino")
_PROBE = (1, 1, 16, 32, 32)


def examine(model_path: Path, device: str) -> tuple[list[tuple[str, str]], KitsError | None]:
    """Facts for people, (name, value) each, and what makes this machine unfit, None where nothing does."""
    facts = [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(("package", f"{name} {installed}") for name in _PACKAGES if (installed := _version(name))),
        ("providers", ", ".join(import_onnxruntime().get_available_providers())),
        ("NVIDIA GPU", "visible" if gpu_present() else "none visible"),
    ]
    try:
        model = load_model(model_path)
        facts += [
            ("model", f"{model_path} ({len(model.content) / 1e6:.2f} MB)"),
            ("sha256", model.sha256),
            ("recipe", _recipe(model)),
        ]
        selection = select_engine(device, model)
        facts += [("stepped down", step) for step in selection.steps]
        facts += [("engine", selection.engine.name), ("device", selection.engine.device)]
        facts.append(("parity with CPU", f"logits differ by at most {_parity(selection.engine, model):.1e}"))
    except KitsError as failure:
        return facts, failure
    return facts, None


def _recipe(model: Model) -> str:
    recipe = model.recipe
    spacing = " x ".join(f"{s:g}" for s in recipe.spacing_mm)
    low, high = recipe.clip_hu
    return f"{spacing} mm, {low:g} to {high:g} HU, patch {recipe.patch}, margin {recipe.margin}"


def _parity(engine: Engine, model: Model) -> float:
    probe = np.random.default_rng(0).standard_normal(_PROBE).astype(np.float32)
    difference = float(np.abs(engine.run(probe) - OnnxRuntimeEngine(model.content, "cpu").run(probe)).max())
    if not difference < 1e-2:
        raise ModelError(
            f"{engine.device} differs from the CPU by {difference:.3g}", fix="use --device cpu", path=model.path
        )
    return difference


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
