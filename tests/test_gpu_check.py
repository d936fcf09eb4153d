"""The GPU's checks with stand-ins on the CPU: one that holds, ones that fail each in their way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from export.cli import export_command, export_rewritten
from export.depthwise import DENSE_CHANNELS, rewrite_depthwise
from export.half import label_agreement
from kits_submit import gpu_check
from kits_submit.cli import build_app
from kits_submit.commands.options import DEFAULT_MODEL
from kits_submit.engine.cudnn import CHOICES, Settings, remember, remembered, words
from kits_submit.engine.model import Model, load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine, _provider_options
from kits_submit.engine.protocol import Engine, OutOfMemory
from kits_submit.engine.select import Selection
from kits_submit.errors import DeviceError, InputError, ModelError
from kits_submit.gpu_check import Candidate, Check, check_engines, gpu_candidates
from kits_submit.nvidia import Gpu, gpu_bytes, gpus
from kits_submit.parity import trust
from kits_submit.recipe import METADATA_KEY
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
        if self._fault == "nan":
            return logits * np.float32("nan")
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


def test_what_tensorrt_builds_is_kept_by_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = [_provider_options("tensorrt", content)["trt_engine_cache_path"] for content in (b"a", b"b", b"a")]
    assert kept[0] == kept[2] != kept[1]
    assert all(Path(folder).is_dir() for folder in kept)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert _provider_options("tensorrt", b"a") == {}


SMI = Gpu("NVIDIA A10G", "550.1", "23028 MiB")


@dataclass
class Clock:
    """A time that passes by what a `Paced` engine takes, and a hair at each look."""

    now: float = 0.0

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now


class Paced(Standin):
    """A stand-in whose every batch takes so long, by a clock of its own."""

    def __init__(self, model: Model, clock: Clock, seconds: float, fault: str = "") -> None:
        super().__init__(model, fault)
        self._clock, self._seconds = clock, seconds

    def run(self, batch: Batch) -> Logits:
        self._clock.now += self._seconds
        return super().run(batch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gpu_check, "time", clock)
    return clock


def settings_check(model: Model, image: np.ndarray, start: Callable[[Settings], Engine]) -> Check:
    checks = check_engines(model, (Candidate("it", start, model.content),), image)
    return next(check for check in checks if check.name == "settings")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: [SMI])
    return tmp_path / "kits-submit"


def test_the_fastest_of_cudnns_settings_that_answers_is_remembered_by_gpu_and_model(
    cache: Path, clock: Clock, model: Model, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cudnn_conv_algo_search" not in _provider_options("cuda", model.content)

    def start(settings: Settings) -> Engine:
        if settings == CHOICES[1]:
            raise OutOfMemory("no room for it", fix="")
        fault = "other labels" if settings == CHOICES[3] else ""
        return Paced(model, clock, 0.9 if settings == CHOICES[2] else 1.0, fault)

    check = settings_check(model, image, start)
    assert check.verdict == "PASS"
    tried = [choice for choice in CHOICES if f"{words(choice)}: " in check.finding]
    assert tried == [CHOICES[0], CHOICES[2]]
    assert check.finding.endswith(f"{words(CHOICES[2])} is remembered")
    assert dict(CHOICES[2]).items() <= _provider_options("cuda", model.content).items()
    assert _provider_options("cuda", model.content, CHOICES[0]).items() >= dict(CHOICES[0]).items()
    assert _provider_options("cpu", model.content) == {}
    assert remembered(b"another") == {}
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: [SMI._replace(driver="551.0")])
    assert remembered(model.content) == {}
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: [SMI])
    for path in cache.iterdir():
        path.write_text('{"cudnn_conv_algo_search": "GUESS"}')
    assert remembered(model.content) == {}


def test_settings_that_are_no_faster_leave_onnx_runtimes_own(
    cache: Path, clock: Clock, model: Model, image: np.ndarray
) -> None:
    check = settings_check(model, image, lambda settings: Paced(model, clock, 1.0 if settings == CHOICES[0] else 0.99))
    assert check.finding.endswith(f"{words(CHOICES[0])} is remembered")


@pytest.mark.parametrize("missing", ["cache", "home", "nvidia-smi"])
def test_settings_that_cannot_be_kept_hinder_nothing(
    tmp_path: Path, cache: Path, model: Model, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    if missing == "cache":
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    elif missing == "home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", homeless)
    else:
        monkeypatch.setattr("kits_submit.engine.cudnn.gpus", list)
    assert not remember(model.content, CHOICES[2])
    assert remembered(model.content) == {}
    assert _provider_options("cuda", model.content)["use_tf32"] == "0"
    assert _provider_options("tensorrt", model.content).keys() <= {"trt_engine_cache_enable", "trt_engine_cache_path"}


def test_nvidia_smi_is_not_asked_where_nothing_was_kept(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("kits_submit.engine.cudnn.gpus", lambda: pytest.fail("asked"))
    assert remembered(model.content) == {}


def test_settings_none_of_which_answers_as_the_cpu(model: Model, image: np.ndarray) -> None:
    assert settings_check(model, image, lambda _: Standin(model, "other labels")).verdict == "FAIL"


@pytest.mark.parametrize(
    ("script", "seen", "held"),
    [
        ("case $1 in *name,driver_version,memory.total) echo 'NVIDIA A10G, 550.1, 23028 MiB';; esac", [SMI], None),
        ("case $1 in *=memory.used) echo 900; echo 124;; esac", [], 1 << 30),
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


@pytest.mark.parametrize("form", ["slices", "dense"])
def test_a_depthwise_convolution_of_every_kind_written_otherwise(
    model: Model, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bias, and with pads, strides and dilations that differ by axis and side."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(0, 1, (4, 1, 3, 3, 3)).astype(np.float32), rng.normal(0, 1, 4).astype(np.float32)
    make = onnx.helper
    node = make.make_node(
        "Conv",
        ["image", "w", "b"],
        ["logits"],
        group=4,
        pads=[2, 1, 0, 1, 2, 3],
        strides=[2, 1, 3],
        dilations=[2, 1, 2],
    )
    ends = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 5) for name in ("image", "logits")]
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in (("w", kernel), ("b", bias))]
    graph = make.make_graph([node], "one", ends[:1], ends[1:], weights)
    content = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10).SerializeToString()
    batch = rng.normal(0, 1, (2, 4, 11, 12, 13)).astype(np.float32)
    monkeypatch.setattr("export.depthwise.probe", lambda _: batch)
    written = rewrite_depthwise(replace(model, content=content), form)
    ours, theirs = (OnnxRuntimeEngine(c, "cpu").run(batch) for c in (content, written))
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * float(np.abs(ours).max()))
    assert convolutions(written) != convolutions(content)
    again = replace(model, content=written)
    with pytest.raises(ModelError, match="no depthwise 3x3x3 convolution"):
        rewrite_depthwise(again, form)


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
    other = onnx.NodeProto()
    other.CopyFrom(node)
    other.input[1] = f"{node.output[0]}/2"
    return other


def test_fp16_keeps_the_labels_and_the_recipe(tmp_path: Path, model: Model) -> None:
    assert export_rewritten(DEFAULT_MODEL, tmp_path / "half.onnx", half=True) < 0.6 * len(model.content)
    half = load_model(tmp_path / "half.onnx")
    assert half.recipe == model.recipe
    kinds = {weight.data_type for weight in onnx.load_model_from_string(half.content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert 0.999 <= label_agreement(model, half.content) <= 1
    with pytest.raises(ModelError, match="it is in fp16 already"):
        export_rewritten(tmp_path / "half.onnx", tmp_path / "again.onnx", half=True)


@pytest.mark.parametrize("source", [None, Path("run"), DEFAULT_MODEL])
def test_rewriting_is_refused_of_what_is_no_model_or_itself(source: Path | None) -> None:
    with pytest.raises(InputError):
        export_rewritten(source, DEFAULT_MODEL, half=True)


def test_a_run_is_shifted_and_a_model_rewritten_not_both(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--tumor-shift is for a run"):
        export_command(DEFAULT_MODEL, tmp_path / "it.onnx", tumor_shift=1.0, half=True)


def test_forms_of_another_model_are_refused(tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "require_gpu", lambda: None)
    other = onnx.load_model_from_string(model.content)
    next(p for p in other.metadata_props if p.key == METADATA_KEY).value = replace(
        model.recipe, margin=(8, 8, 8)
    ).to_json()
    onnx.save(other, tmp_path / "other.onnx")
    done = CliRunner().invoke(build_app(), ["gpu-check", "--also", str(tmp_path / "other.onnx")])
    assert "its Recipe is another than the model's" in str(done.exception)


def test_an_unknown_form_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--depthwise is 'flat'"):
        export_rewritten(DEFAULT_MODEL, tmp_path / "it.onnx", depthwise="flat")
