"""The exported graph taught to decode a part of a patch (`kits_submit.engine.crop` says why, and what the inputs are).

What enters the decoder's last convolutions is cut before them. Each 3x3x3 convolution gives up its own padding, so that
it computes no cell that the ones behind it do not need; where the part ends with the patch, a Pad before it puts back
the zeros that the whole patch's convolution sees there. The numbers of Slices and Pads are inputs, not computed in the
graph: ONNX Runtime would put such arithmetic on the CPU, which a session that must run on a GPU alone refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.nodes import attributes
from kits_submit.engine.crop import METADATA_KEY, PADS, START, STOP, Crop
from kits_submit.errors import ModelError

AXES = "crop_axes"  # of Z, Y, X in NCZYX


def add_crop(model: ModelProto) -> None:
    """Give the graph its inputs, and the model the entry in its metadata, in place.

    Raises:
        ModelError: the graph does not end in a concatenation, convolutions and one upsampling.
    """
    graph = model.graph
    tail = _tail(model)
    pads = {conv.output[0]: f"{PADS}{reach}" for reach, conv in enumerate(tail.convolutions)}
    nodes: list[NodeProto] = []
    for node in graph.node:
        name = node.output[0]
        if name == tail.entry:
            nodes += [_cut(node, i) for i in range(len(node.input))]
        elif name in pads:
            nodes.append(_padded(node, pads[name]))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3, 4], np.int64), AXES))
    sizes = {START: 3, STOP: 3, **dict.fromkeys(pads.values(), 10)}
    graph.input.extend(helper.make_tensor_value_info(name, TensorProto.INT64, [n]) for name, n in sizes.items())
    added = model.metadata_props.add()
    added.key, added.value = METADATA_KEY, tail.crop.to_json()


def crop_of(model: ModelProto) -> Crop | None:
    """As the runtime will read it from the file."""
    return Crop.of({entry.key: entry.value for entry in model.metadata_props})


@dataclass
class _Tail:
    """What follows the last concatenation (`entry`) before the logits; 3x3x3 convolutions, the last one first."""

    entry: str
    crop: Crop
    convolutions: list[NodeProto] = field(default_factory=list)


def _cut(node: NodeProto, i: int) -> NodeProto:
    name = node.input[i]
    node.input[i] = f"{name}/cropped"
    return helper.make_node("Slice", [name, START, STOP, AXES], [node.input[i]], name=f"crop_{i}")


def _padded(conv: NodeProto, pads: str) -> NodeProto:
    """A Pad before a convolution, which no longer pads."""
    name = conv.input[0]
    conv.input[0] = f"{name}/padded"
    for attribute in conv.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [0] * 6
    return helper.make_node("Pad", [name, pads], [conv.input[0]], name=f"pad_{pads}")


def _tail(model: ModelProto) -> _Tail:
    """Walk back from the logits."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stride, name = 1, graph.output[0].name
    convolutions: list[NodeProto] = []
    while name in makers and makers[name].op_type != "Concat":
        node = makers[name]
        if node.op_type == "Resize" and stride == 1 and not convolutions:
            stride = int(_constant(constants, node.input[2])[-1])
        elif node.op_type == "Conv":
            if _reaches_a_cell(node, _constant(constants, node.input[1])):
                convolutions.append(node)
        elif node.op_type != "Relu":
            raise _other(f"has a {node.op_type} behind its last concatenation")
        name = node.input[0]
    if name not in makers:
        raise _other("concatenates nothing")
    return _Tail(name, Crop(stride, halo=int(stride > 1)), convolutions)


def _reaches_a_cell(conv: NodeProto, kernel: Any) -> bool:
    """Whether a convolution is 3x3x3 and keeps its input's edges; False: 1x1x1."""
    has = attributes(conv)
    edges, plain = kernel.shape[2:], has["strides"] == has["dilations"] == [1] * 3
    if edges == (1, 1, 1) and plain and has["pads"] == [0] * 6:
        return False
    if edges == (3, 3, 3) and plain and has["pads"] == [1] * 6:
        return True
    raise _other(f"has a convolution of {edges} behind its last concatenation, not of 3x3x3 that keeps its edges")


def _constant(constants: dict[str, Any], name: str) -> Any:
    if name not in constants:
        raise _other(f"computes {name}")
    return constants[name]


def _other(how: str) -> ModelError:
    return ModelError(f"the exported graph {how}", fix="install the locked torch and onnx")
