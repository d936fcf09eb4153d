"""Atrous spatial pyramid pooling (section 2.1: "the dilations used are [1, 1, 2, 3] and every layer produces 32").

Open in the paper, and the reading taken here:

- Two branches have dilation 1. As in DeepLab v3+, whose rates [1, 6, 12, 18] mean one 1x1x1 and three 3x3x3
  (arXiv 1802.02611), the first is a 1x1x1 and the other three are 3x3x3 with dilations 1, 2, 3.
- The branches are full convolutions, not depthwise separable: the text names separable ones for the backbone only.
- DeepLab's projection of the concatenated branches is kept, 1x1x1 to 32 maps ("every layer").
- DeepLab's image-level pooling is left out: the list has four entries, and a global mean would make the output of a
  voxel depend on the size of the patch around it.
- The dropout stands behind the projection, and drops single values, both as in DeepLab's own code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.network.blocks import conv_norm_relu


class ASPP(nn.Module):
    """(N, inputs, Z, Y, X) -> (N, channels, Z, Y, X)."""

    def __init__(self, inputs: int, channels: int, dilations: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        pointwise = conv_norm_relu(inputs, channels, kernel=1)
        atrous = (conv_norm_relu(inputs, channels, kernel=3, dilation=dilation) for dilation in dilations[1:])
        self.branches = nn.ModuleList((pointwise, *atrous))
        self.project = conv_norm_relu(len(dilations) * channels, channels, kernel=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The branches side by side, projected."""
        features = torch.cat([branch(x) for branch in self.branches], dim=1)
        return self.dropout(self.project(features))  # type: ignore[no-any-return]
