"""Depthwise 3-D convolution whose backward pass a CPU computes in a third of the time.

oneDNN's backward of grouped 3-D convolutions is 10 to 30 times as slow as its forward. What it gives can be had by its
fast paths: the gradient of a stride-1 convolution's input is a depthwise convolution of the output's gradient with the
mirrored kernel, and where channels are few, the gradient of the kernel is the diagonal of a dense convolution's. A step
of two 48-cubes takes 0.9 of the time that it takes with torch's own (`benchmarks/training.py`: step).

In bf16 that grouped backward takes up to four times as long as in fp32, where dense convolutions take about half: under
autocast, the strided layers and the gradients of the kernels of many channels stay fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv3d_weight

_DENSE_CHANNELS = 16  # up to here a dense kernel's gradient costs less than the depthwise one's


class DepthwiseConv3d(nn.Conv3d):
    """3x3x3, without bias; keeps the shape, or divides it by `stride`."""

    def __init__(self, channels: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """NCZYX -> NCZYX."""
        if not (self.training and torch.is_grad_enabled() and x.device.type == "cpu"):
            return super().forward(x)
        if set(self.stride) != {1}:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            mixed = torch.get_autocast_dtype("cpu")
            x, weight = x.to(mixed), weight.to(mixed)
        return _MirroredBackward.apply(x, weight, self.dilation[0])  # type: ignore[no-any-return, no-untyped-call]


class _MirroredBackward(torch.autograd.Function):
    """A stride-1 depthwise convolution that keeps the shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolved(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        to_input = _convolved(gradient, weight.flip(2, 3, 4), ctx.dilation) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(gradient, x, weight, ctx.dilation) if ctx.needs_input_grad[1] else None
        return to_input, to_weight, None


def _convolved(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return nn.functional.conv3d(x, weight, padding=dilation, dilation=dilation, groups=weight.shape[0])


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    channels = weight.shape[0]
    if channels <= _DENSE_CHANNELS:
        dense = (channels, channels, *weight.shape[2:])
        found: Tensor = conv3d_weight(x, dense, gradient, 1, dilation, dilation)  # type: ignore[no-untyped-call]
        return torch.diagonal(found).permute(3, 0, 1, 2).unsqueeze(1)
    single = torch.promote_types(x.dtype, torch.float32)
    found = conv3d_weight(x.to(single), weight.shape, gradient.to(single), 1, dilation, dilation, channels)  # type: ignore[no-untyped-call]
    return found.to(weight.dtype)
