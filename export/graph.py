"""What the exported graph computes, and the checks that the file really is that graph.

    image       float32 (N, 1, Z, Y, X), standardised; Z, Y, X multiples of the Recipe's `multiple`; all four sizes free
    crop_start  int64 (3), crop_stop  int64 (3), crop_pads_0, ...  int64 (10), one for each 3x3x3 convolution behind the
                last concatenation: what part of the patch is decoded (`kits_submit.engine.crop`)
    logits      float32 (N, K, Z', Y', X') of that part, of the network in eval mode: no dropout, BN folded into the
                convolutions

Softmax, argmax, patches and margins are the runtime's: the graph knows nothing of them.
"""

from __future__ import annotations

from onnx import ModelProto, TensorProto, ValueInfoProto
from torch import Tensor, nn

from kits_submit.engine.crop import PADS, START, STOP
from kits_submit.errors import ModelError
from train.network.deeplab import DeepLab3D

OPSET = 18  # later ones hold Resize-19, which older CUDA execution providers run on the CPU without a word
INPUT, OUTPUT = "image", "logits"
INPUT_AXES = ("N", 1, "Z", "Y", "X")
OPERATORS = frozenset({"Conv", "Relu", "Add", "Concat", "Resize", "Slice", "Pad"})


def output_axes(classes: int) -> tuple[str | int, ...]:
    """As `INPUT_AXES`, of the logits: those of a part of the patch."""
    return "N", classes, "Z'", "Y'", "X'"


class Logits(nn.Module):
    """The network without its check of the input's shape, which no traced graph can hold."""

    def __init__(self, network: DeepLab3D) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """`logits` of `image`."""
        return self.network.compute(image)


def check_graph(model: ModelProto, *, classes: int) -> None:
    """Hold a file's graph against this module's docstring.

    Raises:
        ModelError: another opset, name or axis, an operator not in `OPERATORS` (a BN left unfolded among them), a
            Resize of anything but constant scales.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    _demand("opsets", opsets, {"": OPSET})
    _demand("functions", len(model.functions), 0)
    pads = [node.input[1] for node in model.graph.node if node.op_type == "Pad"]
    _demand("Pads", sorted(pads), [f"{PADS}{i}" for i in range(len(pads))])
    _demand("input names", [value.name for value in model.graph.input], [INPUT, START, STOP, *sorted(pads)])
    _demand("output names", [value.name for value in model.graph.output], [OUTPUT])
    _demand("input axes", _axes(model.graph.input[0]), list(INPUT_AXES))
    _demand("output axes", _axes(model.graph.output[0]), list(output_axes(classes)))
    for value in model.graph.input[1:]:
        length = 10 if value.name in pads else 3
        _demand(value.name, (value.type.tensor_type.elem_type, _axes(value)), (TensorProto.INT64, [length]))
    cuts = [list(node.input[1:3]) for node in model.graph.node if node.op_type == "Slice"]
    _demand("Slices", cuts, [[START, STOP]] * len(cuts))
    _demand("other operators", sorted({node.op_type for node in model.graph.node} - OPERATORS), [])
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Resize":
            _demand("Resize inputs", [bool(name) for name in node.input], [True, False, True])
            _demand("Resize scales computed", sorted({node.input[2]} - constants), [])


def _axes(value: ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _demand(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise ModelError(
            f"the exported graph's {what}: {got}, wanted {wanted}", fix="install the locked torch and onnx"
        )
