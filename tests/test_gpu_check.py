"""The GPU's checks with stand-ins on the CPU: one that holds, ones that fail each in their way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from export.cli import export_rewritten
from export.depthwise import DENSE_CHANNELS, rewrite_depthwise
from export.half import label_agreement
from kits_submit import gpu_check
from kits_submit.cli import build_app
from kits_submit.commands.options import DEFAULT_MODEL
from kits_submit.engine.cudnn import CHOICES, Settings, remembered
from kits_submit.engine.model import Model, load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine, _provider_options
from kits_submit.engine.protocol import Engine, OutOfMemory
from kits_submit.engine.select import Selection
from kits_submit.errors import DeviceError, InputError, ModelError
from kits_submit.gpu_check import Candidate, Check, check_engines, choose_settings, gpu_candidates
from kits_submit.nvidia import Gpu, gpu_bytes, gpus
from kits_submit.parity import trust
from kits_submit.types import Batch, Logits


class Standin:
    """The CPU's engine under another device's name; `fault` changes its answers."""

    name, device, batch_voxels = "stand-in 1", "CUDAExecutionProvider", 1 << 17

    def __init__(self, model: Model, fault: str = "") -> None:
        self._engine, self._fault, self._calls = OnnxRuntimeEngine(model.content, "cpu"), fault, 0

    def run(self, batch: Batch) -> Logits:
        self._calls += 1
        logits = self._engine.run(batch)
        if self._fault == "dies" and self._calls > 3:
            raise DeviceError("the GPU is gone", fix="")
        if self._fault == "other labels":
            return np.ascontiguousarray(logits[:, ::-1])
        if self._fault == "unsteady" and self._calls > 8:
            return -logits
        return logits


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Kidney, cortex and fat in a block small enough to stitch in a second."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (40, 72, 72)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(DEFAULT_MODEL)


def verdicts(model: Model, image: np.ndarray, engine: Engine) -> dict[str, Check]:
    return {check.name: check for check in check_engines(model, (Candidate("it", lambda: engine),), image)}


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
    ("fault", "failing"), [("other labels", {"parity", "labels"}), ("unsteady", {"steady"}), ("dies", {"runs"})]
)
def test_an_engine_that_fails(model: Model, image: np.ndarray, fault: str, failing: set[str]) -> None:
    found = verdicts(model, image, Standin(model, fault))
    assert failing <= {name for name, check in found.items() if check.verdict == "FAIL"}


def test_what_cannot_start(model: Model, image: np.ndarray) -> None:
    def refuse() -> Engine:
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


def test_what_tensorrt_builds_is_kept_by_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = [_provider_options("tensorrt", content)["trt_engine_cache_path"] for content in (b"a", b"b", b"a")]
    assert kept[0] == kept[2] != kept[1]
    assert all(Path(folder).is_dir() for folder in kept)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert _provider_options("tensorrt", b"a") == {}


SMI = Gpu("NVIDIA A10G", "550.1", "23028 MiB")


class Paced:
    """An engine whose batches take as long as it is told."""

    name, device, batch_voxels = "stand-in 1", "CUDAExecutionProvider", 1 << 17

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def run(self, batch: Batch) -> Logits:
        time.sleep(self._seconds)
        return batch


def test_the_fastest_of_cudnns_settings_is_remembered_by_gpu_and_model(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gpu_check, "gpus", lambda: [SMI])
    monkeypatch.setattr("kits_submit.engine.onnxruntime.gpus", lambda: [SMI])
    assert "cudnn_conv_algo_search" not in _provider_options("cuda", model.content)

    def start(settings: Settings) -> Engine:
        if settings == CHOICES[0]:
            raise OutOfMemory("no room for it", fix="")
        return Paced(0.002 if settings == CHOICES[2] else 0.02)

    check = choose_settings(model, start)
    assert check.verdict == "PASS"
    assert "EXHAUSTIVE, workspace 1" not in check.finding
    assert check.finding.endswith("the fastest is remembered")
    assert dict(CHOICES[2]).items() <= _provider_options("cuda", model.content).items()
    assert remembered(model.content, [SMI]) == CHOICES[2]
    assert remembered(model.content, [SMI._replace(driver="551.0")]) == {}
    assert remembered(b"another", [SMI]) == {}
    assert _provider_options("cpu", model.content) == {}
    for path in (tmp_path / "kits-submit").iterdir():
        path.write_text('{"cudnn_conv_algo_search": "GUESS"}')
    assert remembered(model.content, [SMI]) == {}


def test_settings_that_cannot_be_kept_or_do_not_run(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose_settings(model, lambda _: Paced(0)).finding.endswith("the fastest is not kept: no cache")

    def refuse(_: Settings) -> Engine:
        raise DeviceError("no CUDA", fix="")

    assert choose_settings(model, refuse).verdict == "FAIL"


@pytest.mark.parametrize(
    ("script", "seen", "held"),
    [
        ("echo 'NVIDIA A10G, 550.1, 23028 MiB'", [SMI], None),
        ("echo 900; echo 124", [], 1 << 30),
        ("echo '[N/A]'", [], None),
        ("exit 9", [], None),
    ],
)
def test_what_nvidia_smi_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, seen: list[Gpu], held: int | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpus() == seen
    assert gpu_bytes() == held


def test_without_nvidia_smi_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    assert gpu_bytes() is None


def test_without_a_gpu_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "gpu_present", lambda: False)
    done = CliRunner().invoke(build_app(), ["gpu-check"])
    assert isinstance(done.exception, DeviceError)
    assert "no NVIDIA GPU is visible" in str(done.exception)


def convolutions(content: bytes) -> list[tuple[int, tuple[int, ...]]]:
    """(groups, kernel's shape) of each convolution."""
    graph = onnx.load_model_from_string(content).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return [
        (next(a.i for a in node.attribute if a.name == "group"), shapes[node.input[1]])
        for node in graph.node
        if node.op_type == "Conv"
    ]


@pytest.mark.parametrize("form", ["slices", "dense"])
@pytest.mark.parametrize("shape", [(2, 1, 12, 16, 20), (1, 1, 4, 4, 4)])
def test_depthwise_convolutions_written_otherwise_answer_the_same(
    model: Model, form: str, shape: tuple[int, ...]
) -> None:
    batch = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    content = rewrite_depthwise(model, form)
    ours, theirs = (OnnxRuntimeEngine(c, "cpu").run(batch) for c in (model.content, content))
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * float(np.abs(ours).max()))
    before, after = convolutions(model.content), convolutions(content)
    deep = [groups for groups, kernel in before if groups > 1 and kernel[2:] == (3, 3, 3)]
    left = [groups for groups, kernel in after if groups > 1 and kernel[2:] == (3, 3, 3)]
    assert len(deep) == 18
    if form == "slices":
        assert left == []
        assert len(after) == len(before) + 2 * len(deep)
    else:
        assert left == [groups for groups in deep if groups > DENSE_CHANNELS]
        assert len(after) == len(before)


def test_a_rewritten_model_carries_the_recipe_and_runs_in_fp16_too(tmp_path: Path, model: Model) -> None:
    export_rewritten(DEFAULT_MODEL, tmp_path / "it.onnx", half=True, depthwise="slices")
    written = load_model(tmp_path / "it.onnx")
    assert written.recipe == model.recipe
    assert label_agreement(model, written.content) >= 0.999
    names = [candidate.name for candidate in gpu_candidates(model, [written])]
    assert names == ["cuda", "cuda it", "tensorrt"]


def test_a_rewriting_that_changes_answers_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.depthwise._slices", lambda node, kernel, store: [_doubled(node, kernel, store)])
    with pytest.raises(ModelError, match="its logits move by"):
        rewrite_depthwise(model, "slices")


def _doubled(node: onnx.NodeProto, kernel: np.ndarray, store: Any) -> onnx.NodeProto:
    store.append(onnx.numpy_helper.from_array(2 * kernel, f"{node.output[0]}/2"))
    node.input[1] = f"{node.output[0]}/2"
    return node


def test_fp16_keeps_the_labels_and_the_recipe(tmp_path: Path, model: Model) -> None:
    assert export_rewritten(DEFAULT_MODEL, tmp_path / "half.onnx", half=True) < 0.6 * len(model.content)
    half = load_model(tmp_path / "half.onnx")
    assert half.recipe == model.recipe
    kinds = {weight.data_type for weight in onnx.load_model_from_string(half.content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert 0.999 <= label_agreement(model, half.content) <= 1


@pytest.mark.parametrize("source", [None, Path("run"), DEFAULT_MODEL])
def test_rewriting_is_refused_of_what_is_no_model_or_itself(source: Path | None) -> None:
    with pytest.raises(InputError):
        export_rewritten(source, DEFAULT_MODEL, half=True)


def test_an_unknown_form_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--depthwise is 'flat'"):
        export_rewritten(DEFAULT_MODEL, tmp_path / "it.onnx", depthwise="flat")
