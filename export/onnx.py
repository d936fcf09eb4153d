"""Checkpoint -> one ONNX file, opset 18, every size dynamic, a part of a patch on request, the Recipe inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from export.crop import add_crop
from export.graph import INPUT, INPUT_AXES, OPSET, OUTPUT, Logits, check_graph, output_axes
from kits_submit.recipe import METADATA_KEY, Recipe
from train.fit.checkpoint import Checkpoint
from train.network.deeplab import DeepLab3D

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.onnx import ONNXProgram

TRACED = (2, 16, 20, 24)  # N, Z, Y, X: each another number, so that no two are taken for one


def to_onnx(checkpoint: Checkpoint) -> ModelProto:
    """The mean weights' network with the checkpoint's Recipe, whose provenance gains the number of steps.

    Raises:
        ModelError: weights that do not fit, or an exporter that made another graph.
    """
    recipe = checkpoint.recipe
    recipe = replace(recipe, provenance={**recipe.provenance, "steps": str(checkpoint.step)})
    return network_to_onnx(checkpoint.network(), recipe)


def network_to_onnx(network: DeepLab3D, recipe: Recipe) -> ModelProto:
    """Trace, fold, tidy, add the crop, and check.

    Raises:
        ModelError: see `add_crop` and `check_graph`.
    """
    n, z, y, x = TRACED
    example = torch.zeros(n, 1, z, y, x)
    sizes = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(INPUT_AXES) if isinstance(size, str)}
    with quiet():
        program = torch.onnx.export(
            Logits(network),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={INPUT: sizes},
            input_names=[INPUT],
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
        )
    model = cast("ONNXProgram", program).model_proto  # None is the old exporter's answer
    tidy(model, network.architecture.classes)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, recipe.to_json()
    add_crop(model)
    check_graph(model, classes=network.architecture.classes)
    return model


def tidy(model: ModelProto, classes: int) -> None:
    """Name the free axes; drop the exporter's notes: stack traces with this machine's paths, shapes of inner values."""
    graph = model.graph
    del graph.value_info[:]
    del model.metadata_props[:]
    for holder in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for value, axes in ((graph.input[0], INPUT_AXES), (graph.output[0], output_axes(classes))):
        for dim, size in zip(value.type.tensor_type.shape.dim, axes, strict=True):
            if isinstance(size, str):
                dim.dim_param = size


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the exporter's known notices: torchvision operators that are not there, its own deprecated calls."""
    notices = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = notices.level
    notices.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        notices.setLevel(level)
