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

from itertools import pairwise

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


class StagewiseDecoder(nn.Module):
    """Table 2's "decoder every stage": the ASPP's output combined with each stage's, the deepest first.

    Open in the paper, and the reading taken here: a stage's output is its last block's; "combine them progressively
    using 1 or 2 layers" is, for each stage, upsampling to its grid, concatenation and 1 or 2 convolutions as those of
    `Decoder`, 3x3x3 to 48 maps; the proposed decoder's larger dropout stands behind the last.
    """

    def __init__(
        self,
        inputs: int,
        stages: tuple[int, ...],
        channels: int,
        classes: int,
        *,
        layers: int,
        dropout: float,
        strides: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.strides = strides
        self.combine = nn.ModuleList()
        for index, stage in enumerate(stages):
            width = stage + (inputs if index == 0 else channels)
            convolutions = (conv_norm_relu(width if i == 0 else channels, channels, kernel=3) for i in range(layers))
            self.combine.append(nn.Sequential(*convolutions))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Conv3d(channels, classes, 1)

    def forward(self, high: Tensor, *stages: Tensor) -> Tensor:
        """The logits."""
        x = high
        for combine, stage, (before, here) in zip(self.combine, stages, pairwise(self.strides), strict=True):
            x = combine(torch.cat([upsample(x, before // here), stage], dim=1))
        return upsample(self.output(self.dropout(x)), self.strides[-1])


def upsample(x: Tensor, scale: int) -> Tensor:
    """Trilinear, by a whole factor along Z, Y and X."""
    if scale == 1:
        return x
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        for axis in (2, 3, 4):
            x = upsample_axis(x, axis, scale)
        return x
    return functional.interpolate(x, scale_factor=float(scale), mode="trilinear", align_corners=False)


def upsample_axis(x: Tensor, axis: int, scale: int) -> Tensor:
    """One axis of `upsample` from slices alone: CUDA's own trilinear kernel has no deterministic backward.

    Scale 2, voxel i: outputs 2i and 2i + 1 are 0.25 x[i-1] + 0.75 x[i] and 0.75 x[i] + 0.25 x[i+1], ends clamped.
    """
    size = x.shape[axis]
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, size - 1, 1)
    before = torch.cat([first, x.narrow(axis, 0, size - 1)], axis)
    after = torch.cat([x.narrow(axis, 1, size - 1), last], axis)
    outputs = []
    for k in range(scale):
        shift = (k + 0.5) / scale - 0.5
        outputs.append(torch.lerp(x, before if shift < 0 else after, abs(shift)))
    return torch.stack(outputs, axis + 1).flatten(axis, axis + 1)
