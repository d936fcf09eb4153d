"""Fixtures: real data where it is at hand, and networks whose answer is known by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from kits_submit.engine.model import Model, load_model
from kits_submit.places import DEFAULT_MODEL
from kits_submit.recipe import METADATA_KEY, Recipe, Refinement

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # a busy machine is no failure

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
KITS_AFFINE_SPACING = (3.0, 0.8, 0.8)


@pytest.fixture(scope="session")
def kits_labels() -> Path:
    """KiTS19 label files, which a user's machine does not have."""
    return present("data", "kits_labels", "kits19")


@pytest.fixture(scope="session")
def real_ct() -> Path:
    return present("data", "realct")


def present(*parts: str) -> Path:
    """A path under the shared data; the test is skipped, with the reason, where it is not there."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs shared/{'/'.join(parts)}, which is beside the checkout on the project's own machines only")
    return path


def kits_affine(spacing: tuple[float, float, float] = KITS_AFFINE_SPACING) -> np.ndarray:
    """KiTS's: anti-diagonal, negative, origin zero."""
    z, y, x = spacing
    return np.array([[0, 0, -x, 0], [0, -y, 0, 0], [-z, 0, 0, 0], [0, 0, 0, 1.0]])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, kits_affine() if affine is None else affine), path)
    return path


def recipe(**changes: object) -> Recipe:
    """Standardisation by mean 0 and deviation 100 on the grid of `save`; nothing is refined."""
    none = Refinement(0, 0, 0, 0, 0, tumor_needs_kidney=False)
    fields: dict[str, object] = {
        "spacing_mm": KITS_AFFINE_SPACING, "clip_hu": (-200.0, 500.0), "mean_hu": 0.0, "std_hu": 100.0,
        "patch": (16, 16, 16), "margin": (2, 2, 2), "multiple": 4, "refinement": none,
    }  # fmt: skip
    return Recipe(**(fields | changes))  # type: ignore[arg-type]


def write_threshold_model(
    path: Path, metadata: dict[str, str] | None = None, weights: object = None, biases: object = None
) -> Path:
    """The ONNX of a network that is a function of each voxel alone: kidney above 100 HU, tumor above 200 HU.

    Logits of a standardised voxel v = HU / 100: 0, v - 1 and 2 v - 3, so kidney wins for 1 < v < 2, tumor above.
    """
    from onnx import TensorProto, helper, numpy_helper, save_model

    weight = np.array([0, 1, 2] if weights is None else weights, np.float32).reshape(-1, 1, 1, 1, 1)
    bias = np.array([0, -1, -3] if biases is None else biases, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])],
        "threshold",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, "z", "y", "x"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(bias), "z", "y", "x"])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: recipe().to_json()} if metadata is None else metadata)
    save_model(model, path)
    return path


@pytest.fixture(scope="session")
def model() -> Model:
    """The shipped one."""
    return load_model(DEFAULT_MODEL)


@pytest.fixture
def threshold_model(tmp_path: Path) -> Callable[..., Path]:
    """`write_threshold_model` into the test's own folder."""

    def write(name: str = "threshold.onnx", metadata: dict[str, str] | None = None, weights: object = None) -> Path:
        return write_threshold_model(tmp_path / name, metadata, weights)

    return write
