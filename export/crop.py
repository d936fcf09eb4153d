"""The exported graph taught to decode a part of a patch (`kits_submit.engine.crop` says why, and what the inputs are).

What enters the decoder's last convolutions is cut to [start, stop) before them. Beyond that cut they see the zeros of
their padding in place of what lay there, as far as they reach: `halo` cells, found by walking back from the logits.
Where the cut is the patch's own end, the zeros are those that the whole patch's convolutions see there as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kits_submit.engine.crop import METADATA_KEY, START, STOP, Crop
from kits_submit.errors import ModelError

AXES = "crop_axes"  # of Z, Y, X in NCZYX


@dataclass(frozen=True)
class _Entry:
    """The concatenation that the decoder's last convolutions follow, and how its cells lie to the logits."""

    node: NodeProto
    crop: Crop


def add_crop(model: ModelProto) -> None:
    """Give the graph its two inputs, and the model the entry in its metadata, in place.

    Raises:
        ModelError: the graph does not end in a concatenation, convolutions and one upsampling.
    """
    graph = model.graph
    entry = _last_concatenation(model)
    index = next(i for i, node in enumerate(graph.node) if node == entry.node)
    cuts = []
    for i, name in enumerate(entry.node.input):
        cut = f"{name}/cropped"
        cuts.append(helper.make_node("Slice", [name, START, STOP, AXES], [cut], name=f"crop_{i}"))
        graph.node[index].input[i] = cut
    nodes = [*graph.node[:index], *cuts, *graph.node[index:]]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([2, 3, 4], np.int64), AXES))
    graph.input.extend(helper.make_tensor_value_info(name, TensorProto.INT64, [3]) for name in (START, STOP))
    added = model.metadata_props.add()
    added.key, added.value = METADATA_KEY, entry.crop.to_json()


def crop_of(model: ModelProto) -> Crop | None:
    """As the runtime will read it from the file."""
    return Crop.of({entry.key: entry.value for entry in model.metadata_props})


def _last_concatenation(model: ModelProto) -> _Entry:
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stride, halo = 1, 0
    node = makers[graph.output[0].name]
    while node.op_type != "Concat":
        if node.op_type == "Resize" and stride == 1:
            stride, halo = int(constants[node.input[2]][-1]), 1
        elif node.op_type == "Conv":
            has = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            edges = constants[node.input[1]].shape[2:]
            halo += max(d * (edge // 2) for d, edge in zip(has.get("dilations", [1] * 3), edges, strict=True))
        elif node.op_type != "Relu":
            raise ModelError(f"its decoder has a {node.op_type}, so that no part of it can be asked for", fix="keep it")
        node = makers[node.input[0]]
    return _Entry(node, Crop(stride, halo))
