"""The same network with its depthwise 3x3x3 convolutions written otherwise, for engines that run them slowly.

cuDNN has no fast kernel for grouped convolution in 3-D (pytorch#34089: 62.8 ms against 9.7 ms for its 2-D slices). Two
other ways to write y[z] = sum over k of w[k] * x[z + (k - 1) d]:

    slices   three 1x3x3 depthwise convolutions, each over the input shifted along Z by (k - 1) d, and their sum
    dense    one ordinary convolution whose kernel is zero between channels; only where channels are few, for it
             multiplies by as many zeros

Neither wins on a CPU (docs/engine.md), so `kits-submit export` writes neither unless asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.errors import ModelError
from kits_submit.parity import probe

FORMS = ("slices", "dense")
DENSE_CHANNELS = 16
TOLERANCE = 1e-5  # of a logit, relative to the largest
_END = np.iinfo(np.int64).max


def rewrite_depthwise(model: Model, form: str) -> bytes:
    """The ONNX file's bytes with each depthwise 3x3x3 convolution as `form` has it, the Recipe kept.

    Raises:
        ModelError: a logit of a piece of a phantom moves by more than rounding.
    """
    written = onnx.load_model_from_string(model.content)
    graph = written.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        kernel = numpy_helper.to_array(weights[node.input[1]]) if node.op_type == "Conv" else None
        if kernel is None or not _is_depthwise(node, kernel):
            nodes.append(node)
        elif form == "slices":
            nodes += _slices(node, kernel, graph.initializer)
        elif len(kernel) <= DENSE_CHANNELS:
            nodes.append(_dense(node, kernel, graph.initializer))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    onnx.checker.check_model(written)
    content: bytes = written.SerializeToString()
    _demand_equal(model, content)
    return content


def _is_depthwise(node: onnx.NodeProto, kernel: npt.NDArray[np.float32]) -> bool:
    return kernel.shape[1:] == (1, 3, 3, 3) and _attributes(node).get("group") == len(kernel)


def _slices(node: onnx.NodeProto, kernel: npt.NDArray[np.float32], store: Any) -> Iterator[onnx.NodeProto]:
    has = _attributes(node)
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


def _dense(node: onnx.NodeProto, kernel: npt.NDArray[np.float32], store: Any) -> onnx.NodeProto:
    channels = np.arange(len(kernel))
    full = np.zeros((len(kernel), len(kernel), 3, 3, 3), np.float32)
    full[channels, channels] = kernel[:, 0]
    name = f"{node.output[0]}/dense"
    store.append(numpy_helper.from_array(full, name))
    return helper.make_node(
        "Conv", [node.input[0], name, *node.input[2:]], node.output, **{**_attributes(node), "group": 1}
    )


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


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
