"""The same network with its depthwise 3x3x3 convolutions written otherwise, for engines that run them slowly.

cuDNN's grouped convolutions in 3-D are slow (pytorch#34089: six times a loop of 2-D ones over slices), and in fp16 it
has no plan for them at all. Two other ways to write y[z] = sum over k of w[k] * x[z + (k - 1) d]:

    slices   three 1x3x3 depthwise convolutions, each over the input shifted along Z by (k - 1) d, and their sum
    dense    one ordinary convolution whose kernel is zero between channels

Multiplying by all those zeros is faster on a GPU (eight 72-cubes in 19 ms for 47, in fp16 in 7) and slower on a CPU
(docs/engine.md). So `kits-submit export` writes neither unless asked, or asked for fp16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from export.nodes import attributes
from kits_submit.checks.parity import probe
from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.errors import ModelError

Kernel = npt.NDArray[Any]

TOLERANCE = 1e-5  # of a logit, relative to the largest
_END = np.iinfo(np.int64).max


def has_depthwise(model: Model) -> bool:
    """Whether there is anything to rewrite."""
    graph = onnx.load_model_from_string(model.content).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    return any(_depthwise_kernel(node, weights) is not None for node in graph.node)


def rewrite_depthwise(model: Model, form: str) -> bytes:
    """The ONNX file's bytes with each depthwise 3x3x3 convolution as `form` has it, the Recipe kept.

    Raises:
        ModelError: nothing in it is to be rewritten, or a logit of a piece of a phantom moves by more than rounding.
    """
    written = onnx.load_model_from_string(model.content)
    graph = written.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        kernel = _depthwise_kernel(node, weights)
        if kernel is None:
            nodes.append(node)
        elif form == "slices":
            nodes += _slices(node, kernel, graph.initializer)
        else:
            nodes.append(_dense(node, kernel, graph.initializer))
    if list(graph.node) == nodes:
        raise ModelError("no depthwise 3x3x3 convolution to rewrite", fix="give it as exported", path=model.path)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    onnx.checker.check_model(written)
    content: bytes = written.SerializeToString()
    _demand_equal(model, content)
    return content


def _depthwise_kernel(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> Kernel | None:
    if node.op_type != "Conv" or node.input[1] not in weights:
        return None
    kernel = numpy_helper.to_array(weights[node.input[1]])
    return kernel if kernel.shape[1:] == (1, 3, 3, 3) and attributes(node)["group"] == len(kernel) else None


def _slices(node: onnx.NodeProto, kernel: Kernel, store: Any) -> Iterator[onnx.NodeProto]:
    has = attributes(node)
    prefix = node.output[0]
    dilation, stride, before, after = has["dilations"][0], has["strides"][0], has["pads"][0], has["pads"][3]
    padded = f"{prefix}/padded"
    pads = _constant(store, f"{padded}/pads", [0, 0, before, 0, 0, 0, 0, after, 0, 0])
    yield helper.make_node("Pad", [node.input[0], pads], [padded])
    planar = {
        "group": len(kernel),
        "kernel_shape": [1, 3, 3],
        "dilations": [1, *has["dilations"][1:]],
        "strides": [1, *has["strides"][1:]],
        "pads": [0, *has["pads"][1:3], 0, *has["pads"][4:]],
    }
    for k in range(3):
        name = f"{prefix}/{k}"
        bounds = {"starts": k * dilation, "ends": (k - 2) * dilation or _END, "axes": 2, "steps": stride}
        named = [_constant(store, f"{name}/{what}", [value]) for what, value in bounds.items()]
        yield helper.make_node("Slice", [padded, *named], [f"{name}/x"])
        store.append(numpy_helper.from_array(np.ascontiguousarray(kernel[:, :, k : k + 1]), f"{name}/w"))
        bias = list(node.input[2:]) if k == 0 else []
        yield helper.make_node("Conv", [f"{name}/x", f"{name}/w", *bias], [f"{name}/y"], **planar)
    yield helper.make_node("Add", [f"{prefix}/0/y", f"{prefix}/1/y"], [f"{prefix}/01"])
    yield helper.make_node("Add", [f"{prefix}/01", f"{prefix}/2/y"], [prefix])


def _dense(node: onnx.NodeProto, kernel: Kernel, store: Any) -> onnx.NodeProto:
    channels = np.arange(len(kernel))
    full = np.zeros((len(kernel), len(kernel), 3, 3, 3), kernel.dtype)
    full[channels, channels] = kernel[:, 0]
    name = f"{node.output[0]}/dense"
    store.append(numpy_helper.from_array(full, name))
    return helper.make_node(
        "Conv", [node.input[0], name, *node.input[2:]], node.output, **{**attributes(node), "group": 1}
    )


def _constant(store: Any, name: str, values: list[int]) -> str:
    store.append(numpy_helper.from_array(np.array(values, np.int64), name))
    return name


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _demand_equal(model: Model, content: bytes) -> None:
    batch = probe(model.recipe)
    ours, theirs = (OnnxRuntimeEngine(c, "cpu").run(batch) for c in (model.content, content))
    apart = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    if not apart <= TOLERANCE:
        raise ModelError(f"rewritten, its logits move by {apart:.1e} of the largest", fix="keep it", path=model.path)
