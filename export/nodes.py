"""Reading ONNX nodes; what rewrites a graph shares it."""

from __future__ import annotations

from typing import Any

from onnx import NodeProto, helper


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name; of a 3-D convolution's, those that are left out have ONNX's defaults."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {"group": 1, "dilations": [1] * 3, "strides": [1] * 3, "pads": [0] * 6, **given}
