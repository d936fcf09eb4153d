"""The exported model once more: in fp16, and its depthwise convolutions written otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.cli import export_command, export_rewritten
from export.depthwise import rewrite_depthwise
from export.half import label_agreement
from kits_submit.checks.gpu_check import gpu_candidates
from kits_submit.checks.parity import check_parity
from kits_submit.engine.model import Model, load_model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.errors import DeviceError, InputError, ModelError
from kits_submit.places import DEFAULT_MODEL


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
    assert left == []
    assert len(after) == len(before) + (2 * len(deep) if form == "slices" else 0)


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
    export_rewritten(DEFAULT_MODEL, tmp_path / "dense.onnx", depthwise="dense")
    export_rewritten(tmp_path / "dense.onnx", tmp_path / "it.onnx", half=True)
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
    single = export_rewritten(DEFAULT_MODEL, tmp_path / "dense.onnx", depthwise="dense")
    assert export_rewritten(DEFAULT_MODEL, tmp_path / "half.onnx", half=True) < 0.6 * single
    half = load_model(tmp_path / "half.onnx")
    assert half.recipe == model.recipe
    assert half.half > model.half
    assert {groups for groups, _ in convolutions(half.content)} == {1}
    weights = onnx.load_model_from_string(half.content).graph.initializer
    assert not [
        weight.name for weight in weights if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) > 1
    ]
    assert sum(weight.data_type == onnx.TensorProto.FLOAT16 for weight in weights) > 50
    assert 0.999 <= label_agreement(model, half.content) <= 1
    with pytest.raises(ModelError, match="it is in fp16 already"):
        export_rewritten(tmp_path / "half.onnx", tmp_path / "again.onnx", half=True)
    engine = OnnxRuntimeEngine(half.content, "cpu")
    assert check_parity(engine, half)
    with pytest.raises(DeviceError, match="answers otherwise"):
        check_parity(engine, model, half=True)  # a CPU does not round sums to fp16, so it may not differ as a GPU may


@pytest.mark.parametrize("source", [None, Path("run"), DEFAULT_MODEL])
def test_rewriting_is_refused_of_what_is_no_model_or_itself(source: Path | None) -> None:
    with pytest.raises(InputError):
        export_rewritten(source, DEFAULT_MODEL, half=True)


@pytest.mark.parametrize("given", [{"tumor_shift": 1.0}, {"patch": "48,48,48"}, {"margin": "8,8,8"}])
def test_a_run_is_given_a_shift_or_a_plan_and_a_model_rewritten_not_both(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--(tumor-shift|patch|margin) is for a run"):
        export_command(DEFAULT_MODEL, tmp_path / "it.onnx", half=True, **given)


def test_fp16_has_no_slices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--half with --depthwise slices"):
        export_rewritten(DEFAULT_MODEL, tmp_path / "it.onnx", half=True, depthwise="slices")


def test_an_unknown_form_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--depthwise is 'flat'"):
        export_rewritten(DEFAULT_MODEL, tmp_path / "it.onnx", depthwise="flat")
