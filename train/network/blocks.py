"""The encoder's bricks (paper section 2.1, Fig. 2). Every tensor is NCZYX.

What the paper leaves open, and the reading taken here:

- One "DSC layer" is a depthwise 3x3x3 directly followed by a pointwise 1x1x1, then one BN and one ReLU. The paper
  counts a DSC as one layer, and Xception, which it cites for it, found no non-linearity between the two to be better
  (arXiv 1610.02357, section 4.7). A BN after the depthwise too would give 560,867 weights, over the paper's
  "less than 560k"; this reading gives 559,667.
- No convolution that a BN follows has a bias: the BN's shift replaces it.
- A residual block's last ReLU stands after the addition: conv, BN, addition, ReLU. A ReLU before it would let a block
  only ever add to its input, which trains worse (He et al., arXiv 1603.05027, Fig. 4c and Table 2).
- The shortcut is the identity where the channels agree, else a 1x1x1 convolution with BN (Xception's own; option B of
  He et al., arXiv 1512.03385); its ReLU is the one after the addition.
- Padding is zero, on both sides, by the dilation: "padded convolutions" (section 2.4), an edge n gives n / stride.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.network.depthwise import DepthwiseConv3d


class DSCLayer(nn.Module):
    """Depthwise 3x3x3, pointwise 1x1x1, BN, and ReLU where `relu`. An edge n gives n / stride."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv3d(inputs, stride=stride, dilation=dilation)
        self.pointwise = nn.Conv3d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm3d(outputs)
        self.activation = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The layer's maps of `x`."""
        return self.activation(self.norm(self.pointwise(self.depthwise(x))))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Fig. 2: (one strided DSC layer where stride > 1, then) a residual connection around `layers` DSC layers.

    The strided layer changes the channels; the layers behind it keep them.
    """

    def __init__(self, inputs: int, outputs: int, *, layers: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.entry = DSCLayer(inputs, outputs, stride=stride) if stride > 1 else nn.Identity()
        width = outputs if stride > 1 else inputs
        self.layers = nn.Sequential(
            *(
                DSCLayer(width if i == 0 else outputs, outputs, dilation=dilation, relu=i < layers - 1)
                for i in range(layers)
            )
        )
        self.shortcut = nn.Identity() if width == outputs else conv_norm(width, outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """The block's maps of `x`."""
        x = self.entry(x)
        return torch.relu(self.layers(x) + self.shortcut(x))


def conv_norm(inputs: int, outputs: int, *, kernel: int, dilation: int = 1) -> nn.Sequential:
    """A full convolution without bias that keeps the shape, and its BN."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv3d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(outputs))


def conv_norm_relu(inputs: int, outputs: int, *, kernel: int, dilation: int = 1) -> nn.Sequential:
    """`conv_norm` and a ReLU."""
    return conv_norm(inputs, outputs, kernel=kernel, dilation=dilation).append(nn.ReLU(inplace=True))
