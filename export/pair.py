"""Two exported models in one file: one says where kidneys are, the other which part of them is tumor.

Trained on scans most of whose kidneys have no tumor, a network of this size gives the tumor up; trained on tumors
alone, it sees them in any spleen. Each answers what it is good at. With W the logits of `where` and T those of `what`:

    background  W_0
    kidney      log(exp W_1 + exp W_2) + log(exp T_1 / (exp T_1 + exp T_2))
    tumor       log(exp W_1 + exp W_2) + log(exp T_2 / (exp T_1 + exp T_2))

so that the probability of the foreground is that of `where`, and it is divided as `what` divides it. Both read one
image, standardised as `where`'s Recipe says; it is carried to `what`'s window and standards inside the graph. Both are
asked for the same part of a patch (`export.crop`), so they must be of one architecture. The file's Recipe is `where`'s.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from export.crop import crop_of
from export.graph import INPUT, OUTPUT
from kits_submit.errors import ModelError
from kits_submit.recipe import METADATA_KEY, Recipe

_WHERE, _WHAT = "where/", "what/"
_FIX = "export both by this version, each from a network of the same architecture"


def pair(where: ModelProto, what: ModelProto) -> ModelProto:
    """One model of two.

    Raises:
        ModelError: a model without Recipe, another grid or another crop than the other's.
    """
    recipe, other = _recipe(where), _recipe(what)
    if recipe.spacing_mm != other.spacing_mm:
        raise ModelError(f"the two models' grids are {recipe.spacing_mm} and {other.spacing_mm} mm", fix=_FIX)
    if crop_of(where) != crop_of(what) or _shared(where) != _shared(what):
        raise ModelError("the two models are cut otherwise", fix=_FIX)
    made = ModelProto()
    made.CopyFrom(where)
    _keep_names(made, where, _WHERE)
    second = compose.add_prefix(what, _WHAT)
    for value in second.graph.input:
        _rename(second, value.name, value.name.removeprefix(_WHAT))
    _rename_read(second, INPUT, f"{_WHAT}{INPUT}")
    made.graph.node.extend([*_carried(), *second.graph.node, *_combined()])
    made.graph.initializer.extend([*second.graph.initializer, *_constants(recipe, other)])
    told = {**recipe.provenance, "what_sha256": hashlib.sha256(what.SerializeToString()).hexdigest()}
    for entry in made.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = replace(recipe, provenance=told).to_json()
    return made


def _recipe(model: ModelProto) -> Recipe:
    text = {entry.key: entry.value for entry in model.metadata_props}.get(METADATA_KEY)
    if text is None:
        raise ModelError("a model of the two carries no Recipe", fix=_FIX)
    return Recipe.from_json(text)


def _shared(model: ModelProto) -> list[str]:
    return sorted(value.name for value in model.graph.input)


def _keep_names(made: ModelProto, where: ModelProto, prefix: str) -> None:
    """`where`'s inner names and logits prefixed; its inputs, and the output's name and shape, are the pair's."""
    first = compose.add_prefix(where, prefix)
    for value in first.graph.input:
        _rename(first, value.name, value.name.removeprefix(prefix))
    output = made.graph.output[0]
    made.graph.CopyFrom(first.graph)
    made.graph.output[0].CopyFrom(output)


def _rename(model: ModelProto, old: str, new: str) -> None:
    for value in model.graph.input:
        if value.name == old:
            value.name = new
    _rename_read(model, old, new)


def _rename_read(model: ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new


def _carried() -> list[NodeProto]:
    """The image by the standards and the window of `what`: x s + d, clipped."""
    return [
        helper.make_node("Mul", [INPUT, "pair/scale"], ["pair/scaled"]),
        helper.make_node("Add", ["pair/scaled", "pair/shift"], ["pair/shifted"]),
        helper.make_node("Clip", ["pair/shifted", "pair/low", "pair/high"], [f"{_WHAT}{INPUT}"]),
    ]


def _combined() -> list[NodeProto]:
    def channels(logits: str, first: str, last: str, name: str) -> NodeProto:
        return helper.make_node("Slice", [logits, f"pair/{first}", f"pair/{last}", "pair/1"], [name])

    return [
        channels(f"{_WHERE}{OUTPUT}", "0", "1", "pair/background"),
        channels(f"{_WHERE}{OUTPUT}", "1", "3", "pair/both"),
        helper.make_node("ReduceLogSumExp", ["pair/both", "pair/1"], ["pair/foreground"], keepdims=1),
        channels(f"{_WHAT}{OUTPUT}", "1", "3", "pair/which"),
        helper.make_node("LogSoftmax", ["pair/which"], ["pair/shares"], axis=1),
        helper.make_node("Add", ["pair/foreground", "pair/shares"], ["pair/divided"]),
        helper.make_node("Concat", ["pair/background", "pair/divided"], [OUTPUT], axis=1),
    ]


def _constants(recipe: Recipe, other: Recipe) -> list[TensorProto]:
    numbers: dict[str, Any] = {
        "scale": recipe.std_hu / other.std_hu,
        "shift": (recipe.mean_hu - other.mean_hu) / other.std_hu,
        "low": (other.clip_hu[0] - other.mean_hu) / other.std_hu,
        "high": (other.clip_hu[1] - other.mean_hu) / other.std_hu,
    }
    floats = [numpy_helper.from_array(np.array(value, np.float32), f"pair/{name}") for name, value in numbers.items()]
    return floats + [numpy_helper.from_array(np.array([n], np.int64), f"pair/{n}") for n in (0, 1, 3)]
