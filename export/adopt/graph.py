"""A torch network of any kind -> ONNX with its Recipe inside, and the check that the file answers as torch does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from export.adopt.network import Members
from export.graph import INPUT, OPSET, OUTPUT, output_axes
from export.onnx import quiet, tidy
from export.verify import ParityReport, compare
from kits_submit.engine.model import ONE_MEMBER
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine
from kits_submit.errors import ModelError, first_line
from kits_submit.recipe import METADATA_KEY, Recipe
from kits_submit.types import Shape

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.onnx import ONNXProgram

TOLERANCE = 1e-3  # of a logit, or a tenth of it times the largest: networks of 60 layers round more than ours
_MOST_BYTES = (1 << 31) - (1 << 20)  # of one protobuf


def network_to_onnx(members: Sequence[nn.Module], recipe: Recipe) -> bytes:
    """One file of all members: `logits`, their mean, and where there are several `logits_of_one`, the first one's.

    Raises:
        ModelError: the exporter does not take the network, or the file would be over 2 GB.
    """
    size = sum(value.numel() * value.element_size() for member in members for value in member.state_dict().values())
    if size > _MOST_BYTES:
        what = f"{len(members)} networks of {size / 1e9:.1f} GB in all do not fit into one ONNX file of 2 GB"
        raise ModelError(what, fix="adopt fewer --folds")
    z, y, x = (2 * stride for stride in recipe.strides)
    example = torch.zeros(2, 1, *_distinct((z, y, x), recipe.strides))
    cells = zip(("z", "y", "x"), recipe.strides, strict=True)  # an odd edge would split a residual block's two ways
    sizes = {0: torch.export.Dim("n")} | {
        2 + axis: stride * torch.export.Dim(name) for axis, (name, stride) in enumerate(cells)
    }
    names = [OUTPUT] if len(members) == 1 else [OUTPUT, ONE_MEMBER]
    try:
        with quiet():
            program = torch.onnx.export(
                Members(members), (example,), dynamo=True, opset_version=OPSET, dynamic_shapes=(sizes,),
                input_names=[INPUT], output_names=names, external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # the exporter's own, of many kinds
        raise ModelError(f"torch cannot export the network ({first_line(error)})", fix=_OTHER_WAY) from error
    model = cast("ONNXProgram", program).model_proto
    return sealed(model, recipe)


def sealed(model: ModelProto, recipe: Recipe) -> bytes:
    """A graph's bytes with named axes and the Recipe, without the exporter's notes."""
    tidy(model, recipe.outputs)
    for value in model.graph.output:
        for dim, size in zip(value.type.tensor_type.shape.dim, output_axes(recipe.outputs), strict=True):
            if isinstance(size, str):
                dim.dim_param = size
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, recipe.to_json()
    content: bytes = model.SerializeToString()
    return content


def verified(content: bytes, members: Sequence[nn.Module], recipe: Recipe) -> ParityReport:
    """ONNX Runtime against torch on noise, of two batches and shapes."""
    engine = OnnxRuntimeEngine(content, "cpu")
    network, rng = Members(members), np.random.default_rng(0)
    found = []
    z, y, x = (2 * stride for stride in recipe.strides)
    for batch, shape in ((2, (z, y, x)), (1, _distinct((z, y, x), recipe.strides))):
        image = rng.normal(0, 1, (batch, 1, *shape)).astype(np.float32)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(image))[0].numpy()
        found.append(compare(wanted, engine.run(image), (batch, *shape), TOLERANCE))
    return ParityReport(TOLERANCE, engine.name, tuple(found))


def _distinct(shape: Shape, strides: Shape) -> Shape:
    """Sizes of which no two are one: the exporter would take equal ones for one symbol."""
    z, y, x = shape
    y = y if y != z else y + strides[1]
    while x in (z, y):
        x += strides[2]
    return z, y, x


_OTHER_WAY = "export it to ONNX yourself, opset 18 with free sizes, and adopt the file: --onnx FILE --recipe JSON"
