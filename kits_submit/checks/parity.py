"""Does an engine answer as it should? Asked of a piece of a phantom that comes with the package."""

from __future__ import annotations

import io
import math
from importlib.resources import files

import numpy as np

from kits_submit.engine.crop import part_of
from kits_submit.engine.model import Model
from kits_submit.engine.onnxruntime import PROVIDERS, OnnxRuntimeEngine
from kits_submit.engine.openvino import BF16, FP32
from kits_submit.engine.protocol import Engine, OutOfMemory
from kits_submit.engine.select import Selection
from kits_submit.errors import BudgetError, DeviceError, ModelError
from kits_submit.inference.answers import answer, part_alone
from kits_submit.inference.decision import decision_of
from kits_submit.inference.intensity import standardise
from kits_submit.recipe import Recipe
from kits_submit.types import Batch, Labels, Logits

_PROBE = files("kits_submit") / "data" / "probe.npz"
LABEL_SHARE = 1e-4
_ROUNDING = 1e-2, LABEL_SHARE  # of logits, and the share of other labels; a broken engine answers all background
_HALF_ROUNDING = 0.25, 1e-3  # in fp16; the piece is all kidney and its surroundings, where labels change


def probe(recipe: Recipe) -> Batch:
    """NCZYX: kidney, tumor and surroundings of a phantom and its mirror image, standardised as the network wants."""
    with np.load(io.BytesIO(_PROBE.read_bytes())) as stored:
        image = stored["hu"].astype(np.float32)
    image = np.pad(
        image, [(0, -n % stride) for n, stride in zip(image.shape, recipe.strides, strict=True)], mode="edge"
    )
    standardise(image, recipe)
    return np.ascontiguousarray(np.stack([image, image[:, :, ::-1]])[:, None])


def trust(selection: Selection, model: Model) -> None:
    """Step down to the first engine that answers as the CPU's ONNX Runtime does, before any case is given to it.

    Raises:
        DeviceError: none is left that does.
        ModelError: its graph does not answer the smallest patch that its Recipe allows.
    """
    _answers_at_all(selection, model)
    while selection.engine.device != PROVIDERS["cpu"]:
        try:
            check_parity(selection.engine, model)
        except DeviceError as error:
            if not selection.step_down(error.what):
                raise
        else:
            return


def _answers_at_all(selection: Selection, model: Model) -> None:
    on_cpu = selection.engine.device == PROVIDERS["cpu"]
    engine = (
        selection.engine if on_cpu else OnnxRuntimeEngine(model.content, "cpu", threads=1, one_member=model.one_member)
    )
    edges = model.recipe.strides
    try:
        answer(engine, np.zeros((1, 1, *edges), np.float32), model.recipe.outputs, None, None)
    except OutOfMemory as error:
        raise BudgetError(error.what, fix=error.fix) from None
    except (DeviceError, ModelError) as error:
        told = " x ".join(map(str, edges))
        raise ModelError(
            f"its graph does not answer a patch of {told} voxels, as its Recipe says ({error.what})",
            fix="export it again with this version of kits-submit",
            path=model.path,
        ) from None


def check_parity(engine: Engine, model: Model, *, half: bool | None = None) -> str:
    """What was found, in words: against ONNX Runtime on the CPU, a batch of two against one by one, part against whole.

    Args:
        half: it was given a model in fp16; None: as `model` is. On a CPU that model is computed in fp32 all the same.

    Raises:
        DeviceError: the answers differ by more than rounding, or are not finite.
    """
    batch = probe(model.recipe)
    together = engine.run(batch)
    alone = np.concatenate([engine.run(batch[n : n + 1]) for n in range(len(batch))])
    reference = OnnxRuntimeEngine(model.content, "cpu", one_member=model.one_member).run(batch)
    apart = float(np.abs(together - reference).max())
    batched = float(np.abs(together - alone).max())
    share = float(np.mean(_labels(together, model.recipe) != _labels(reference, model.recipe)))
    cropped = _cropped_apart(engine, model, batch, together)
    in_half = (model.half if half is None else half) and engine.device in (PROVIDERS["cuda"], PROVIDERS["tensorrt"])
    tolerance, most_other = _HALF_ROUNDING if in_half else _ROUNDING
    if getattr(engine, "precision", FP32) == BF16:  # its logits are rounded: labels alone count
        tolerance = math.inf
    if not (all(by < tolerance for by in (apart, batched, cropped)) and share < most_other):
        raise DeviceError(
            f"{engine.device} answers otherwise than the CPU: logits by {apart:.3g}, {share:.2%} of the labels; "
            f"a batch of two differs from one by one by {batched:.3g}, part of a patch from the whole by {cropped:.3g}",
            fix="use --device cpu, and update the driver",
        )
    same = (
        "it is the reference"
        if engine.device == PROVIDERS["cpu"]
        else f"logits within {apart:.1e}, {share:.2%} other labels"
    )
    return f"{same}; two at once against one by one within {batched:.1e}, part against whole within {cropped:.1e}"


def _labels(logits_NKZYX: Logits, recipe: Recipe) -> Labels:
    return decision_of(recipe).decide(np.moveaxis(logits_NKZYX, 1, 0))


def _cropped_apart(engine: Engine, model: Model, batch: Batch, whole: Logits) -> float:
    """By how much the middle of a patch differs from the whole's, where the model can be asked for it."""
    if model.crop is None:
        return 0.0
    z, y, x = batch.shape[2:]
    start, stop = (z // 3, y // 3, x // 3), (z - z // 3, y - y // 3, x - x // 3)
    try:
        alone = part_alone(engine, batch, whole.shape[1], model.crop, start, stop)
    except ModelError:
        return math.inf
    return float(np.abs(alone - part_of(whole, start, stop)).max())
