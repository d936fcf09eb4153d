"""The GPU's checks with stand-ins on the CPU: one that holds, ones that fail each in their way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from kits_submit.checks import gpu_check
from kits_submit.checks.gpu_check import Candidate, Check, check_engines
from kits_submit.checks.parity import trust
from kits_submit.cli import build_app
from kits_submit.engine.crop import METADATA_KEY as CROP_KEY
from kits_submit.engine.crop import Cells, Crop
from kits_submit.engine.cudnn import Settings
from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine, import_onnxruntime
from kits_submit.engine.protocol import Engine
from kits_submit.engine.select import Selection
from kits_submit.errors import DeviceError
from kits_submit.recipe import METADATA_KEY
from kits_submit.types import Batch, Logits


class Standin:
    """The CPU's engine under another device's name; `fault` changes its answers (`unsteady`: repeated ones)."""

    name, device, batch_voxels = "stand-in 1", "CUDAExecutionProvider", 1 << 17

    def __init__(self, model: Model, fault: str = "") -> None:
        self._engine, self._fault, self._calls = OnnxRuntimeEngine(model.content, "cpu"), fault, 0
        self._seen: set[tuple[bytes, Cells | None]] = set()

    def run(self, batch: Batch, cells: Cells | None = None, /) -> Logits:
        self._calls += 1
        logits = self._engine.run(batch, cells)
        if self._fault == "dies" and self._calls > 3:
            raise DeviceError("the GPU is gone", fix="")
        if self._fault == "nan":
            return logits * np.float32("nan")
        if self._fault == "fp16":
            return logits + np.float32(0.1) * (np.arange(logits.size, dtype=np.float32).reshape(logits.shape) % 2)
        if self._fault == "other labels":
            return np.ascontiguousarray(logits[:, ::-1])
        if self._fault == "unsteady" and (batch.tobytes(), cells) in self._seen:
            return -logits
        self._seen.add((batch.tobytes(), cells))
        return logits


def block() -> np.ndarray:
    """Noise small enough to stitch in a second."""
    return np.random.default_rng(0).normal(0, 1, (40, 72, 72)).astype(np.float32)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return block()


def verdicts(model: Model, image: np.ndarray, engine: Engine) -> dict[str, Check]:
    return {check.name: check for check in check_engines(model, (Candidate("it", lambda _: engine),), image)}


def test_an_engine_that_holds(model: Model, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter((100_000_000, 1_000_000_000))
    monkeypatch.setattr(gpu_check, "gpu_bytes", lambda: next(held))
    found = verdicts(model, image, Standin(model))
    assert list(found) == ["starts", "parity", "labels", "steady", "throughput", "memory"]
    assert {name for name, check in found.items() if check.verdict == "FAIL"} <= {"throughput"}  # it is the CPU itself
    assert found["starts"].finding == "stand-in 1, CUDAExecutionProvider"
    assert found["labels"].finding.startswith(f"100.0000% of {image.size} voxels")
    assert found["memory"].finding == "900 MB of at most 8000 MB"


@pytest.mark.parametrize(
    ("fault", "failing"),
    [("other labels", {"parity", "labels"}), ("unsteady", {"steady"}), ("dies", {"runs"}), ("nan", {"parity", "runs"})],
)
def test_an_engine_that_fails(model: Model, image: np.ndarray, fault: str, failing: set[str]) -> None:
    found = verdicts(model, image, Standin(model, fault))
    assert failing <= {name for name, check in found.items() if check.verdict == "FAIL"}


@pytest.mark.parametrize(("half", "verdict"), [(True, "PASS"), (False, "FAIL")])
def test_an_engine_that_rounds_as_fp16_does(model: Model, image: np.ndarray, half: bool, verdict: str) -> None:
    candidate = Candidate("it", lambda _: Standin(model, "fp16"), half=half)
    found = {check.name: check for check in check_engines(model, (candidate,), image)}
    assert found["parity"].verdict == verdict
    if half:
        assert "logits within 1.0e-01" in found["parity"].finding


def test_a_provider_whose_library_cannot_be_loaded_says_which(model: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """Here no CUDA is; where it is, the session starts."""
    if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime is built without CUDA")
    if gpu_check.gpu_present():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match=r"CUDAExecutionProvider did not start \(libcu\w+\.so"):
        OnnxRuntimeEngine(model.content, "cuda")
    assert "EP Error" not in capfd.readouterr().out


def test_what_cannot_start(model: Model, image: np.ndarray) -> None:
    def refuse(_: Settings) -> Engine:
        raise DeviceError("no TensorRT here", fix="")

    checks = list(check_engines(model, (Candidate("a", refuse, optional=True), Candidate("b", refuse)), image))
    assert checks == [
        Check("a", "starts", "SKIP", "no TensorRT here"),
        Check("b", "starts", "FAIL", "no TensorRT here"),
    ]


def test_an_engine_that_answers_otherwise_gets_no_case(model: Model) -> None:
    cpu = OnnxRuntimeEngine(model.content, "cpu")
    chosen = Selection(Standin(model, "other labels"), (), "cuda", [("cpu", lambda: cpu)])
    trust(chosen, model)
    assert chosen.engine is cpu
    assert chosen.steps[0].startswith("cuda: CUDAExecutionProvider answers otherwise than the CPU")
    with pytest.raises(DeviceError, match="answers otherwise"):
        trust(Selection(Standin(model, "other labels")), model)
    good = Selection(Standin(model), (), "cuda", [("cpu", lambda: cpu)])
    trust(good, model)
    assert good.rung == "cuda"


def test_without_a_gpu_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "gpu_present", lambda: False)
    done = CliRunner().invoke(build_app(), ["gpu-check"])
    assert isinstance(done.exception, DeviceError)
    assert "no NVIDIA GPU is visible" in str(done.exception)


@pytest.mark.parametrize("what", [METADATA_KEY, CROP_KEY])
def test_forms_of_another_model_are_refused(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(gpu_check, "require_gpu", lambda: None)
    other = onnx.load_model_from_string(model.content)
    changed = {METADATA_KEY: replace(model.recipe, margin=(4, 4, 4)).to_json(), CROP_KEY: Crop(2, 4).to_json()}
    next(p for p in other.metadata_props if p.key == what).value = changed[what]
    onnx.save(other, tmp_path / "other.onnx")
    done = CliRunner().invoke(build_app(), ["gpu-check", "--also", str(tmp_path / "other.onnx")])
    assert "its Recipe or its crop is another than the model's" in str(done.exception)
