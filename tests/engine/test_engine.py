from __future__ import annotations

import sys

import numpy as np
import pytest

from kits_submit.checks.doctor import examine
from kits_submit.engine import select
from kits_submit.engine.model import load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.engine.openvino import OpenVinoEngine
from kits_submit.errors import DeviceError, ModelError
from tests.conftest import recipe


def expected(batch: np.ndarray) -> np.ndarray:
    return np.concatenate([0 * batch, batch - 1, 2 * batch - 3], axis=1)


@pytest.mark.parametrize("shape", [(1, 1, 4, 4, 4), (3, 1, 8, 4, 12), (1, 1, 1, 1, 1)])
def test_engines_compute_the_network_for_any_shape(threshold_model, shape):
    model = load_model(threshold_model())
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for engine in (OnnxRuntimeEngine(model.content, "cpu"), OpenVinoEngine(model.content)):
        logits = engine.run(batch)
        assert logits.dtype == np.float32
        assert np.allclose(logits, expected(batch), atol=1e-5)


@pytest.mark.parametrize("start", [OpenVinoEngine, lambda content: OnnxRuntimeEngine(content, "cpu")])
def test_an_answer_is_not_overwritten_by_the_next(threshold_model, start):
    engine = start(load_model(threshold_model()).content)
    first = engine.run(np.ones((1, 1, 4, 4, 4), np.float32))
    kept = first.copy()
    engine.run(np.zeros((1, 1, 4, 4, 4), np.float32))
    assert np.array_equal(first, kept)


class TestModel:
    def test_the_recipe_travels_in_the_file(self, threshold_model):
        assert load_model(threshold_model()).recipe == recipe()

    def test_no_recipe(self, threshold_model):
        with pytest.raises(
            ModelError, match=r"bare\.onnx: the model carries no Recipe .*; give an \.onnx file written by"
        ):
            load_model(threshold_model("bare.onnx", metadata={}))

    def test_a_newer_recipe(self, threshold_model):
        text = recipe().to_json().replace('"schema": 1', '"schema": 9')
        with pytest.raises(ModelError, match=r"newer\.onnx: the Recipe has schema 9, this program reads 1; update"):
            load_model(threshold_model("newer.onnx", metadata={"kits_submit.recipe": text}))

    @pytest.mark.parametrize("content", [b"", b"no onnx", bytes(1000)])
    def test_no_onnx(self, tmp_path, content):
        path = tmp_path / "a.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"a\.onnx: (not a usable ONNX file|the model carries no Recipe)"):
            load_model(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(ModelError, match=r"cannot be read \(No such file"):
            load_model(tmp_path / "none.onnx")


class TestLadder:
    def test_auto_says_why_it_stepped_down(self, threshold_model, monkeypatch):
        monkeypatch.setattr(select, "gpu_present", lambda: False)
        monkeypatch.setattr(select, "openvino_installed", lambda: False)
        chosen = select.select_engine("auto", load_model(threshold_model()))
        assert chosen.engine.device == "CPUExecutionProvider"
        assert chosen.steps == ("cuda: no NVIDIA GPU is visible", "openvino: not installed")

    def test_a_gpu_that_does_not_start_is_a_step(self, threshold_model, monkeypatch):
        def refuse(content: bytes, device: str, threads: int | None = None, **_: object) -> OnnxRuntimeEngine:
            if device == "cuda":
                raise DeviceError("CUDAExecutionProvider did not start (Fail)", fix="see doctor")
            return OnnxRuntimeEngine(content, device)

        monkeypatch.setattr(select, "gpu_present", lambda: True)
        monkeypatch.setattr(select, "openvino_installed", lambda: False)
        monkeypatch.setattr(select, "OnnxRuntimeEngine", refuse)
        chosen = select.select_engine("auto", load_model(threshold_model()))
        assert chosen.steps[0] == "cuda: CUDAExecutionProvider did not start (Fail)"
        assert chosen.engine.device == "CPUExecutionProvider"

    @pytest.mark.parametrize("device", ["cuda", "tensorrt"])
    def test_a_gpu_asked_for_but_absent_is_an_error(self, threshold_model, monkeypatch, device):
        monkeypatch.setattr(select, "gpu_present", lambda: False)
        with pytest.raises(DeviceError, match="no NVIDIA GPU is visible; run on one"):
            select.select_engine(device, load_model(threshold_model()))

    def test_an_unknown_device(self, threshold_model):
        with pytest.raises(DeviceError, match="unknown device 'tpu'; use one of auto, cuda"):
            select.select_engine("tpu", load_model(threshold_model()))

    def test_openvino_asked_for_but_not_installed(self, threshold_model, monkeypatch):
        monkeypatch.setattr("kits_submit.engine.openvino.openvino_installed", lambda: False)
        with pytest.raises(DeviceError, match="OpenVINO is not installed; pip install"):
            select.select_engine("openvino", load_model(threshold_model()))


def test_the_doctor_states_device_versions_and_model(threshold_model):
    told, failures = examine(threshold_model(), "cpu")
    facts = dict(told)
    assert failures == []
    assert facts["device"] == "CPUExecutionProvider"
    assert facts["parity with CPU"].endswith("0.0e+00")
    assert len(facts["sha256"]) == 64
    assert facts["recipe"] == "3 x 0.8 x 0.8 mm, -200 to 500 HU, patch (16, 16, 16), margin (2, 2, 2)"
    assert facts["python"].startswith(".".join(map(str, sys.version_info[:3])))


def test_the_doctor_tells_what_it_can_of_an_unfit_machine(threshold_model, monkeypatch, tmp_path):
    monkeypatch.setattr("kits_submit.engine.select.gpu_present", lambda: False)
    facts, failures = examine(threshold_model(), "cuda")
    assert len(dict(facts)["sha256"]) == 64
    assert [type(failure) for failure in failures] == [DeviceError]
    facts, failures = examine(tmp_path / "none.onnx", "cpu")
    assert "CPUExecutionProvider" in dict(facts)["providers"]
    assert [type(failure) for failure in failures] == [ModelError]


def test_a_broken_openvino_is_a_step_down(threshold_model, monkeypatch):
    monkeypatch.setattr(select, "gpu_present", lambda: False)
    monkeypatch.setattr(select, "openvino_installed", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", None)  # what Python does where an import has failed
    chosen = select.select_engine("auto", load_model(threshold_model()))
    assert chosen.engine.device == "CPUExecutionProvider"
    assert chosen.steps[1].startswith("openvino: OpenVINO ")
