"""The same network in half precision (fp16) with float32 in and out, by ONNX Runtime's own converter: for GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from kits_submit.checks.parity import probe
from kits_submit.engine.model import HALF, PRECISION_KEY, Model
from kits_submit.engine.onnxruntime import OnnxRuntimeEngine, import_onnxruntime
from kits_submit.errors import ModelError
from kits_submit.inference.decision import decision_of

# of a small piece's labels on a CPU, where weights are rounded and sums are fp32's; `kits-submit gpu-check` asks for
# 99.99 % of a whole case's where sums are rounded, too
AGREEMENT = 0.999


def to_half(model: Model) -> bytes:
    """The ONNX file's bytes with weights and arithmetic in fp16, the Recipe kept.

    Raises:
        ModelError: it is in fp16 already, or its labels on a piece of a phantom are not those of fp32.
    """
    graph = onnx.load_model_from_string(model.content)
    if any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in graph.graph.initializer):
        raise ModelError("it is in fp16 already", fix="give the fp32 model", path=model.path)
    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    convert: Any = convert_float_to_float16
    written = convert(graph, keep_io_types=True)
    entry = written.metadata_props.add()
    entry.key, entry.value = PRECISION_KEY, HALF
    content: bytes = written.SerializeToString()
    agreement = label_agreement(model, content)
    if agreement < AGREEMENT:
        raise ModelError(f"in fp16 only {agreement:.2%} of labels stay", fix="keep fp32", path=model.path)
    return content


def label_agreement(model: Model, content: bytes) -> float:
    """Share of a piece of a phantom that gets the same label from both files, on the CPU."""
    batch = probe(model.recipe)
    decision = decision_of(model.recipe)
    answers = (OnnxRuntimeEngine(c, "cpu").run(batch) for c in (model.content, content))
    ours, theirs = (decision.decide(np.moveaxis(logits, 1, 0)) for logits in answers)
    return float(np.mean(ours == theirs))
