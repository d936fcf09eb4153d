"""The decoder (paper section 2.1): ASPP features brought to stage 2's grid, two 48-map convolutions, the output layer.

Open in the paper, and the reading taken here:

- The two convolutions are full 3x3x3 ones, as the refining convolutions of DeepLab v3+, and work on the grid of stage
  2's first block (stride 2): "combined" comes before "upsampled back to the original resolution".
- The low-level features enter as they are, without DeepLab's 1x1 reduction: the paper names none.
- Upsampling is trilinear between voxel centres (align_corners=False), the 3D form of DeepLab's bilinear one.
- The paper upsamples 48 maps and then applies the 1x1x1 output layer. Interpolation weights sum to one, so the two
  commute exactly; the layer is applied first, and K maps are upsampled instead of 48.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.network.blocks import conv_norm_relu


class Decoder(nn.Module):
    """High (N, 32, Z/4, Y/4, X/4) and low (N, 32, Z/2, Y/2, X/2) level features -> logits (N, K, Z, Y, X)."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        classes: int,
        *,
        dropouts: tuple[float, float],
        scales: tuple[int, int],
    ) -> None:
        super().__init__()
        self.scale_high, self.scale_out = scales
        self.refine = nn.Sequential(
            *conv_norm_relu(inputs, channels, kernel=3),
            nn.Dropout(dropouts[0]),
            *conv_norm_relu(channels, channels, kernel=3),
            nn.Dropout(dropouts[1]),
        )
        self.output = nn.Conv3d(channels, classes, 1)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """The logits."""
        features = torch.cat([upsample(high, self.scale_high), low], dim=1)
        return upsample(self.output(self.refine(features)), self.scale_out)


def upsample(x: Tensor, scale: int) -> Tensor:
    """Trilinear, by a whole factor along Z, Y and X."""
    return functional.interpolate(x, scale_factor=float(scale), mode="trilinear", align_corners=False)
