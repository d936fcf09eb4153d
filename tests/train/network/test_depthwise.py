"""The depthwise convolution against torch's own, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from train.network.depthwise import DepthwiseConv3d


@pytest.mark.parametrize("channels", [1, 5, 16, 17])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_depthwise_gradients_equal_torchs(
    channels: int, stride: int, dilation: int, memory_format: torch.memory_format
) -> None:
    ours = DepthwiseConv3d(channels, stride=stride, dilation=dilation).double()
    theirs = nn.Conv3d(
        channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, groups=channels, bias=False
    ).double()
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(2, channels, 4, 6, 8, dtype=torch.float64).to(memory_format=memory_format)
    found = []
    for layer in (ours, theirs):
        x = image.clone().requires_grad_()
        y = layer(x)
        (y * torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)).sum().backward()
        found.append((y.detach(), x.grad, layer.weight.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-10)


def test_depthwise_without_an_images_gradient() -> None:
    """The first layer's image needs none; a frozen kernel neither."""
    layer, x = DepthwiseConv3d(3), torch.randn(1, 3, 4, 4, 4)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    layer.weight.requires_grad_(requires_grad=False)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        assert not layer(x).requires_grad


@pytest.mark.parametrize(("channels", "stride", "dilation"), [(4, 1, 1), (24, 1, 1), (24, 1, 2), (4, 2, 1)])
def test_depthwise_in_bf16_is_as_near_as_bf16_is(channels: int, stride: int, dilation: int) -> None:
    """Eight bits of mantissa: a product is off by 2^-8 at most, a sum over n of them by less in proportion."""
    torch.manual_seed(0)
    exact = DepthwiseConv3d(channels, stride=stride, dilation=dilation)
    mixed = DepthwiseConv3d(channels, stride=stride, dilation=dilation)
    mixed.load_state_dict(exact.state_dict())
    image = torch.randn(2, channels, 8, 8, 8)
    found = []
    for layer, autocast in ((mixed, True), (exact, False)):
        x = image.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = layer(x)
        assert y.dtype == (torch.bfloat16 if autocast and stride == 1 else torch.float32)
        (y.float() * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
        assert x.grad is not None
        assert layer.weight.grad is not None
        found.append((y.detach().float(), x.grad, layer.weight.grad))
    for near, true in zip(*found, strict=True):
        assert near.dtype == torch.float32
        assert float((near - true).norm() / true.norm()) < 2**-7
