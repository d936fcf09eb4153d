"""`Model`: an exported network's bytes with the Recipe that it carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kits_submit.engine.crop import Crop
from kits_submit.engine.onnxruntime import import_onnxruntime, refuse_without_memory, session_options
from kits_submit.errors import ModelError, first_line
from kits_submit.recipe import METADATA_KEY, Recipe

PRECISION_KEY = "kits_submit.precision"
HALF = "fp16"
ONE_MEMBER = "logits_of_one"  # the second output of a file of several networks, whose mean is the first

_FAST_OVERLAP = 0.25
_EXPORT = "give an .onnx file written by `kits-submit export`"


@dataclass(frozen=True)
class Model:
    """- `sha256`: of the file, as the run manifest states it.
    - `crop`: what part of a patch its graph can be asked for; None: whole patches alone.
    - `half`: it computes in fp16. `one_member`: of several networks in it the first one's answer is taken alone.
    """

    path: Path
    recipe: Recipe
    sha256: str
    content: bytes
    crop: Crop | None = None
    half: bool = False
    one_member: bool = False

    def faster(self) -> Model:
        """For a fraction of the time: no mirroring, an overlap of a quarter at most, one member."""
        practice = self.recipe.practice
        overlap = None if practice.overlap is None else min(practice.overlap, _FAST_OVERLAP)
        recipe = replace(self.recipe, practice=replace(practice, mirrored=(), overlap=overlap))
        return replace(self, recipe=recipe, one_member=practice.members > 1)


def load_model(path: Path) -> Model:
    """Read an ONNX file and its Recipe.

    Raises:
        ModelError: no such file, not ONNX, no valid Recipe in its metadata, a crop that is none, or a graph of
            another kind.
        BudgetError: there is no memory to load it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the model cannot be read ({error.strerror})", fix=_EXPORT, path=path) from None
    session = _session(content, path)
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"the model carries no Recipe (metadata {METADATA_KEY!r})", fix=_EXPORT, path=path)
    try:
        recipe, crop = Recipe.from_json(text), Crop.of(metadata)
        _check_graph(session, recipe, crop)
    except ModelError as error:
        raise ModelError(error.what, fix=error.fix, path=path) from None
    half = metadata.get(PRECISION_KEY) == HALF
    return Model(path, recipe, hashlib.sha256(content).hexdigest(), content, crop, half)


def _session(content: bytes, path: Path) -> Any:
    onnxruntime = import_onnxruntime()
    try:
        return onnxruntime.InferenceSession(content, _as_it_is(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a family of C++ exceptions without a common public base
        refuse_without_memory(error)
        raise ModelError(f"not a usable ONNX file ({first_line(error)})", fix=_EXPORT, path=path) from None


def _as_it_is() -> Any:
    """To be asked what it is alone: weights of many millions are neither folded nor packed for that."""
    options = session_options()
    options.graph_optimization_level = import_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _check_graph(session: Any, recipe: Recipe, crop: Crop | None) -> None:
    """Raises: ModelError: it takes or gives something else than NCZYX patches of one channel, of any size."""
    image, *others = session.get_inputs()
    logits, *more = session.get_outputs()
    wanted = [ONE_MEMBER] if recipe.practice.members > 1 else []
    if [value.name for value in more] != wanted or (others and crop is None):
        told = f"not one each{''.join(f' and {name}' for name in wanted)}"
        raise ModelError(f"its graph has {1 + len(others)} inputs and {1 + len(more)} outputs, {told}", fix=_EXPORT)
    for value, channels in ((image, 1), (logits, recipe.outputs)):
        shape = list(value.shape)
        sizes = [n for n in (*shape[:1], *shape[2:]) if isinstance(n, int)]
        if len(shape) != 5:
            raise ModelError(f"its {value.name} has {len(shape)} axes, not the five N, C, Z, Y, X", fix=_EXPORT)
        if isinstance(shape[1], int) and shape[1] != channels:
            raise ModelError(f"its {value.name} has {shape[1]} channels, expected {channels}", fix=_EXPORT)
        if sizes and value is image:
            raise ModelError(f"its {value.name} has the fixed shape {shape}", fix="export it with dynamic axes")
    if image.type != "tensor(float)":
        raise ModelError(f"its {image.name} is {image.type}, not tensor(float)", fix=_EXPORT)
