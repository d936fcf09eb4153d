"""Table 1: the Xception-style encoder of four stages of two residual blocks each.

Open in the paper: Table 1 marks stage 1's and stage 2's second block with a stride, while the text says that the first
three stages "are separated using convolutions with stride = 2"; both say two strides, so the output stride is 4.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from train.network.blocks import Block, conv_norm_relu


class BlockSpec(NamedTuple):
    """One row's half of Table 1: "DSC (channels) x layers, s = stride, dilation"."""

    channels: int
    layers: int
    stride: int = 1
    dilation: int = 1


TABLE_1: tuple[BlockSpec, ...] = (
    BlockSpec(16, 2),
    BlockSpec(16, 2, stride=2),
    BlockSpec(32, 2),  # * to the decoder
    BlockSpec(32, 3, stride=2),
    BlockSpec(32, 3),
    BlockSpec(64, 2),
    BlockSpec(96, 1, dilation=2),
    BlockSpec(128, 1, dilation=2),  # * to the ASPP
)
LOW_LEVEL = 2  # which block's output goes to the decoder: the first of stage 2


class Encoder(nn.Module):
    """(N, 1, Z, Y, X) -> low level (N, 32, Z/2, Y/2, X/2) and high level (N, 128, Z/4, Y/4, X/4) for Table 1.

    `taps`: the blocks whose outputs are handed out beside the last one's, in that order.
    """

    def __init__(self, inputs: int, stem: int, blocks: tuple[BlockSpec, ...], taps: tuple[int, ...]) -> None:
        super().__init__()
        self.taps = taps
        self.stem = conv_norm_relu(inputs, stem, kernel=1)
        widths = (stem, *(spec.channels for spec in blocks))
        self.blocks = nn.ModuleList(
            Block(width, spec.channels, layers=spec.layers, stride=spec.stride, dilation=spec.dilation)
            for width, spec in zip(widths, blocks, strict=False)
        )

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """(outputs of `taps`, output of the last block)."""
        x = self.stem(x)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return tuple(outputs[index] for index in self.taps), x
