"""`Model`: an exported network's bytes with the Recipe that it carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from kits_submit.engine.crop import Crop
from kits_submit.engine.onnxruntime import import_onnxruntime, session_options
from kits_submit.errors import ModelError, first_line
from kits_submit.recipe import METADATA_KEY, Recipe

PRECISION_KEY = "kits_submit.precision"
HALF = "fp16"

_EXPORT = "give an .onnx file written by `kits-submit export`"


@dataclass(frozen=True)
class Model:
    """- `sha256`: of the file, as the run manifest states it.
    - `crop`: what part of a patch its graph can be asked for; None: whole patches alone.
    - `half`: it computes in fp16.
    """

    path: Path
    recipe: Recipe
    sha256: str
    content: bytes
    crop: Crop | None = None
    half: bool = False


def load_model(path: Path) -> Model:
    """Read an ONNX file and its Recipe.

    Raises:
        ModelError: no such file, not ONNX, no valid Recipe in its metadata, or a crop that is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the model cannot be read ({error.strerror})", fix=_EXPORT, path=path) from None
    metadata = _metadata(content, path)
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"the model carries no Recipe (metadata {METADATA_KEY!r})", fix=_EXPORT, path=path)
    try:
        recipe, crop = Recipe.from_json(text), Crop.of(metadata)
    except ModelError as error:
        raise ModelError(error.what, fix=error.fix, path=path) from None
    half = metadata.get(PRECISION_KEY) == HALF
    return Model(path, recipe, hashlib.sha256(content).hexdigest(), content, crop, half)


def _metadata(content: bytes, path: Path) -> dict[str, str]:
    onnxruntime = import_onnxruntime()
    try:
        session = onnxruntime.InferenceSession(content, session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a family of C++ exceptions without a common public base
        raise ModelError(f"not a usable ONNX file ({first_line(error)})", fix=_EXPORT, path=path) from None
    return dict(session.get_modelmeta().custom_metadata_map)
