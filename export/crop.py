"""The exported graph taught to decode a part of a patch (`kits_submit.engine.crop` says why, and what the inputs are).

What enters the decoder's last convolutions is cut to [start, stop) before them. Beyond that cut they see the zeros of
their padding in place of what lay there, as far as they reach: `halo` cells, found by walking back from the logits.
Where the cut is the patch's own end, the zeros are those that the whole patch's convolutions see there as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.nodes import attributes
from kits_submit.engine.crop import METADATA_KEY, START, STOP, Crop
from kits_submit.errors import ModelError

AXES = "crop_axes"  # of Z, Y, X in NCZYX


def add_crop(model: ModelProto) -> None:
    """Give the graph its two inputs, and the model the entry in its metadata, in place.

    Raises:
        ModelError: the graph does not end in a concatenation, convolutions and one upsampling.
    """
    graph = model.graph
    entry, crop = _last_concatenation(model)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.output[0] == entry:
            for i, name in enumerate(node.input):
                node.input[i] = f"{name}/cropped"
                nodes.append(helper.make_node("Slice", [name, START, STOP, AXES], [node.input[i]], name=f"crop_{i}"))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3, 4], np.int64), AXES))
    graph.input.extend(helper.make_tensor_value_info(name, TensorProto.INT64, [3]) for name in (START, STOP))
    added = model.metadata_props.add()
    added.key, added.value = METADATA_KEY, crop.to_json()


def crop_of(model: ModelProto) -> Crop | None:
    """As the runtime will read it from the file."""
    return Crop.of({entry.key: entry.value for entry in model.metadata_props})


def _last_concatenation(model: ModelProto) -> tuple[str, Crop]:
    """What the last concatenation before the logits is called, and how its cells lie to them."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stride, halo, name = 1, 0, graph.output[0].name
    while name in makers and makers[name].op_type != "Concat":
        node = makers[name]
        if node.op_type == "Resize" and stride == 1:
            stride = int(_constant(constants, node.input[2])[-1])
            halo = -(-halo // stride) + 1
        elif node.op_type == "Conv":
            dilations = attributes(node)["dilations"]
            edges = _constant(constants, node.input[1]).shape[2:]
            halo += max(d * (edge // 2) for d, edge in zip(dilations, edges, strict=True))
        elif node.op_type != "Relu":
            raise _other(f"has a {node.op_type} behind its last concatenation")
        name = node.input[0]
    if name not in makers:
        raise _other("concatenates nothing")
    return name, Crop(stride, halo)


def _constant(constants: dict[str, Any], name: str) -> Any:
    if name not in constants:
        raise _other(f"computes {name}")
    return constants[name]


def _other(how: str) -> ModelError:
    return ModelError(f"the exported graph {how}", fix="install the locked torch and onnx")
