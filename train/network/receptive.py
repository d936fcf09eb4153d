"""Receptive field of a `DeepLab3D`, from its numbers alone: which input voxels can reach one output voxel.

Table 1 gives `receptive_radius() == 83`: more than a 48-voxel patch is wide. So no margin that a patch can afford makes
an output free of the padding; the margin discards where the padding weighs most (the paper's "to alleviate the noise
introduced by the padded convolutions", section 2.4), and what remains is measured, not proven to be zero.
"""

from __future__ import annotations

from typing import NamedTuple

from train.network.deeplab import Architecture


class Reach(NamedTuple):
    """First and last index, along one axis of some grid, that a value depends on."""

    first: int
    last: int

    def widen(self, voxels: int) -> Reach:
        """Through a convolution of kernel 2 x `voxels` + 1 at stride 1."""
        return Reach(self.first - voxels, self.last + voxels)

    def through_stride(self, stride: int) -> Reach:
        """From a strided 3x3x3's output grid to its input grid: index i reads stride * i - 1 .. stride * i + 1."""
        return Reach(stride * self.first - 1, stride * self.last + 1)

    def through_upsampling(self, scale: int) -> Reach:
        """From a linear upsampling's output to its input: index i reads floor((i + 0.5) / scale - 0.5) and the next."""
        if scale == 1:
            return self
        return Reach(
            (2 * self.first + 1 - scale) // (2 * scale),
            (2 * self.last + 1 - scale) // (2 * scale) + 1,
        )


def receptive_field(voxel: int, architecture: Architecture | None = None) -> Reach:
    """Input indices, along one axis of an endless volume, that logits at index `voxel` depend on."""
    arch = architecture or Architecture()
    joined: dict[int, Reach] = {}  # block: what the decoder reads of its output
    reach = Reach(voxel, voxel).through_upsampling(arch.low_stride)
    for index in reversed(arch.taps):
        reach = reach.widen(arch.stage_layers if arch.stage_outputs else 2)  # the decoder's 3x3x3
        joined[index] = reach
        deeper = [tap for tap in arch.taps if tap > index]
        coarser = arch.stride(min(deeper)) if deeper else arch.multiple
        reach = reach.through_upsampling(coarser // arch.stride(index))
    reach = reach.widen(max(arch.aspp_dilations))
    for index in reversed(range(len(arch.blocks))):
        if index in joined:
            reach = Reach(min(reach.first, joined[index].first), max(reach.last, joined[index].last))
        spec = arch.blocks[index]
        reach = reach.widen(spec.layers * spec.dilation)
        if spec.stride > 1:
            reach = reach.through_stride(spec.stride)
    return reach


def receptive_radius(architecture: Architecture | None = None) -> int:
    """Largest distance, in input voxels along an axis, over which an input voxel can change a logit."""
    arch = architecture or Architecture()
    reaches = (receptive_field(voxel, arch) for voxel in range(arch.multiple))
    return max(max(voxel - reach.first, reach.last - voxel) for voxel, reach in enumerate(reaches))
