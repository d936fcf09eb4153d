"""A model of another kind is told once, with code 7, before any case; a wrong option is a usage error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save_model

from kits_submit.engine.onnxruntime import refuse_without_memory
from kits_submit.errors import BudgetError
from kits_submit.recipe import METADATA_KEY
from tests.conftest import recipe, save, write_threshold_model
from tests.faults.conftest import inside, scan

Shape = list[int | str]
FREE: Shape = ["n", 1, "z", "y", "x"]
ANSWER: Shape = ["n", 3, "z", "y", "x"]


def graph(
    path: Path, image: Shape = FREE, logits: Shape = ANSWER, second: str = "", kind: int = TensorProto.FLOAT
) -> None:
    """One convolution of as many axes as the image has; `second`: another input or output."""
    axes = len(image) - 2
    channels = [n if isinstance(n, int) else 1 for n in (logits[1], image[1])]
    weight = numpy_helper.from_array(np.ones([*channels, *[1] * axes], np.float32), "weight")
    nodes = [helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT)] if kind != TensorProto.FLOAT else []
    nodes.append(helper.make_node("Conv", ["cast" if nodes else "image", "weight"], ["logits"]))
    extra = [helper.make_tensor_value_info("other", TensorProto.FLOAT, ["m"])]
    if second == "output":
        nodes.append(helper.make_node("Shape", ["image"], ["other"]))
        extra = [helper.make_tensor_value_info("other", TensorProto.INT64, [axes + 2])]
    inputs = [helper.make_tensor_value_info("image", kind, image), *(extra if second == "input" else [])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)]
    made = helper.make_graph(nodes, "g", inputs, [*outputs, *(extra if second == "output" else [])], [weight])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: recipe().to_json()})
    save_model(model, path)


def strided(path: Path) -> None:
    """A network of stride 8 whose Recipe says 4: two ways through it differ in size."""
    nodes = [
        helper.make_node("MaxPool", ["image"], ["small"], kernel_shape=[8] * 3, strides=[8] * 3),
        helper.make_node("Resize", ["small", "", "scales"], ["back"], mode="nearest"),
        helper.make_node("Concat", ["back", "image", "image"], ["logits"], axis=1),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 8, 8, 8], np.float32), "scales")
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("image", FREE), ("logits", ANSWER))]
    made = helper.make_graph(nodes, "strided", values[:1], values[1:], [scales])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: recipe().to_json()})
    save_model(model, path)


def with_recipe(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        raw = json.loads(recipe().to_json())
        change(raw)
        write_threshold_model(path, {METADATA_KEY: json.dumps(raw)})

    return write


def nested(path: Path) -> None:
    write_threshold_model(path, {METADATA_KEY: "[" * 100_000 + "]" * 100_000})


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "2-D": (lambda p: graph(p, ["n", 1, "y", "x"], ["n", 3, "y", "x"]), "its image has 4 axes, not the five N, C, Z"),
    "two inputs": (lambda p: graph(p, second="input"), "its graph has 2 inputs and 1 outputs, not one each"),
    "two outputs": (lambda p: graph(p, second="output"), "its graph has 1 inputs and 2 outputs, not one each"),
    "two channels": (lambda p: graph(p, ["n", 2, "z", "y", "x"]), "its image has 2 channels, expected 1"),
    "four classes": (lambda p: graph(p, logits=["n", 4, "z", "y", "x"]), "its logits has 4 channels, expected 3"),
    "fixed shape": (lambda p: graph(p, [1, 1, 16, 16, 16]), "its image has the fixed shape [1, 1, 16, 16, 16]"),
    "float64": (lambda p: graph(p, kind=TensorProto.DOUBLE), "its image is tensor(double), not tensor(float)"),
    "a stride of its own": (strided, "its graph does not answer a patch of 4 x 4 x 4 voxels, as its Recipe says ("),
    "clip is text": (with_recipe(lambda raw: raw.update(clip_hu=["a", "b"])), "Recipe.clip_hu is ('a', 'b'), allowed"),
    "a patch of half": (with_recipe(lambda raw: raw.update(patch=[16, 16, 17])), "Recipe.patch is (16, 16, 17), allow"),
    "no mean": (with_recipe(lambda raw: raw.pop("mean_hu")), "the Recipe lacks mean_hu; export the model again"),
    "refinement": (with_recipe(lambda raw: raw.update(refinement=3)), "Recipe.refinement is 3, allowed: an object of"),
    "provenance": (with_recipe(lambda raw: raw.update(provenance=[1])), "Recipe.provenance is [1], allowed: an object"),
    "nested": (nested, "the Recipe is nested too deep; export the model again"),
    "empty": (lambda p: p.write_bytes(b""), "not a usable ONNX file ("),
    "a picture": (lambda p: p.write_bytes(b"\x89PNG" * 99), "not a usable ONNX file ("),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_model_of_another_kind(tmp_path, name):
    write, told = WRONG[name]
    write(tmp_path / "wrong.onnx")
    save(tmp_path / "in" / "case_00001.nii.gz", scan())
    ended = inside(tmp_path / "in", tmp_path / "out", "--model", tmp_path / "wrong.onnx", "--device", "cpu")
    assert (ended.code, len(ended.lines)) == (7, 1)
    assert ended.last.startswith(f"error: {tmp_path / 'wrong.onnx'}: {told}")
    assert "--device" not in ended.last
    assert not (tmp_path / "out").exists()


OPTIONS = {
    ("--patch", "abc"): "--patch is 'abc', allowed: three whole numbers",
    ("--patch", "16,16"): "--patch is '16,16', allowed: three whole numbers",
    ("--patch", "16,16,17"): "patch",
    ("--margin", "-1,0,0"): "--margin is '-1,0,0', allowed: three whole numbers",
    ("--overlap", "1"): "overlap is 1.0, allowed: at least 0 and below 1",
    ("--overlap", "x"): "Invalid value for '--overlap'",
    ("--protocol", "foo"): "Invalid value for '--protocol': 'foo' is not one of 'paper'",
    ("--device", "gpu"): "Invalid value for '--device': 'gpu' is not one of 'auto'",
    ("--threads", "0"): "Invalid value for '--threads'",
    ("--jobs", "0"): "Invalid value for '--jobs'",
    ("--names", "x"): "Invalid value for '--names'",
    ("--hu-offset", "x"): "Invalid value for '--hu-offset'",
    ("--nothing", "x"): "No such option",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_option_is_a_usage_error(tmp_path, model, option):
    save(tmp_path / "in" / "case_00001.nii.gz", scan())
    ended = inside(tmp_path / "in", tmp_path / "out", "--model", model, *option)
    assert (ended.code, len(ended.lines)) == (2, 1)
    assert OPTIONS[option] in ended.last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 4096"])
def test_no_memory_for_the_model_is_no_fault_of_the_model(text):
    with pytest.raises(BudgetError, match=r"no memory to load the model .*; give it more memory"):
        refuse_without_memory(RuntimeError(text))
    refuse_without_memory(RuntimeError("Protobuf parsing failed"))
