"""The network against Table 1, and its pieces against an independent computation in numpy and scipy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from train.network.blocks import Block, DSCLayer
from train.network.decoder import upsample, upsample_axis
from train.network.deeplab import Architecture, DeepLab3D, count_parameters
from train.network.encoder import BlockSpec
from train.network.receptive import receptive_field, receptive_radius
from train.network.variants import architecture_of

Float = npt.NDArray[np.float64]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def dsc(inputs: int, outputs: int) -> int:
    return 27 * inputs + inputs * outputs + 2 * outputs  # depthwise, pointwise, BN scale and shift


def test_weights_counted_by_hand() -> None:
    encoder = (
        (8 + 16)
        + (dsc(8, 16) + dsc(16, 16) + 8 * 16 + 2 * 16)  # stage 1: 8 -> 16 with a shortcut
        + (3 * dsc(16, 16))  # one strided, two residual
        + (dsc(16, 32) + dsc(32, 32) + 16 * 32 + 2 * 32)
        + (4 * dsc(32, 32))
        + (3 * dsc(32, 32))
        + (dsc(32, 64) + dsc(64, 64) + 32 * 64 + 2 * 64)
        + (dsc(64, 96) + 64 * 96 + 2 * 96)
        + (dsc(96, 128) + 96 * 128 + 2 * 128)
    )
    aspp = (128 * 32 + 64) + 3 * (27 * 128 * 32 + 64) + (128 * 32 + 64)
    decoder = (27 * 64 * 48 + 96) + (27 * 48 * 48 + 96) + (48 * 3 + 3)
    network = DeepLab3D()
    parts = (network.encoder, network.aspp, network.decoder)
    assert [count_parameters(part) for part in parts] == [encoder, aspp, decoder] == [73_888, 340_288, 145_491]
    assert count_parameters(network) == 559_667 < 560_000  # paper section 1: "less than 560k parameters"


def test_bn_after_each_depthwise_too_would_break_the_papers_bound() -> None:
    depthwise = [m for m in DeepLab3D().modules() if isinstance(m, nn.Conv3d) and m.groups > 1]
    assert 559_667 + sum(2 * m.out_channels for m in depthwise) == 560_867 > 560_000


def test_table_1() -> None:
    encoder = DeepLab3D().encoder.eval()
    shapes = []
    x = encoder.stem(torch.zeros(1, 1, 8, 16, 24))
    for block in encoder.blocks:
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    half, quarter = (4, 8, 12), (2, 4, 6)
    assert shapes == [
        (16, 8, 16, 24),
        (16, *half),
        (32, *half),
        (32, *quarter),
        (32, *quarter),
        (64, *quarter),
        (96, *quarter),
        (128, *quarter),
    ]
    layers = [[m for m in block.modules() if isinstance(m, DSCLayer)] for block in encoder.blocks]
    assert [len(block) for block in layers] == [2, 3, 2, 4, 3, 2, 1, 1]
    assert [block[0].depthwise.dilation[0] for block in layers] == [1, 1, 1, 1, 1, 1, 2, 2]
    assert [block[0].depthwise.stride[0] for block in layers] == [1, 2, 1, 2, 1, 1, 1, 1]


def test_aspp_and_dropouts() -> None:
    network = DeepLab3D()
    convolutions = [branch[0] for branch in network.aspp.branches]
    assert [(c.kernel_size[0], c.dilation[0], c.out_channels) for c in convolutions] == [
        (1, 1, 32),
        (3, 1, 32),
        (3, 2, 32),
        (3, 3, 32),
    ]
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5, 0.1]


def test_every_convolution_but_the_output_and_the_depthwise_is_followed_by_bn() -> None:
    network = DeepLab3D()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    followed = [c for c in convolutions if c.groups == 1 and c is not network.decoder.output]
    assert len([m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]) == len(followed)
    assert [c.bias is not None for c in convolutions].count(True) == 1


def naive_dsc(x: Float, layer: DSCLayer) -> Float:
    """A DSC layer on CZYX by scipy: correlate each channel with its spread-out kernel, mix channels, normalise."""
    stride, dilation = layer.depthwise.stride[0], layer.depthwise.dilation[0]
    spread = np.zeros((2 * dilation + 1,) * 3)
    planes = []
    for channel, kernel in zip(x, layer.depthwise.weight.detach().double().numpy()[:, 0], strict=True):
        spread[::dilation, ::dilation, ::dilation] = kernel
        planes.append(ndimage.correlate(channel, spread, mode="constant")[::stride, ::stride, ::stride])
    pointwise = layer.pointwise.weight.detach().double().numpy()[:, :, 0, 0, 0]
    mixed = np.einsum("oi,izyx->ozyx", pointwise, np.array(planes))
    y = naive_norm(mixed, layer.norm)
    return np.maximum(y, 0) if isinstance(layer.activation, nn.ReLU) else y


def naive_norm(x: Float, norm: nn.BatchNorm3d) -> Float:
    values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    scale, shift, mean, variance = (v.detach().double().numpy()[:, None, None, None] for v in values if v is not None)
    return (x - mean) / np.sqrt(variance + norm.eps) * scale + shift


def randomise_norms(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, nn.BatchNorm3d):
            assert m.running_mean is not None
            assert m.running_var is not None
            nn.init.normal_(m.running_mean, std=0.3)
            nn.init.uniform_(m.running_var, 0.5, 2.0)
            nn.init.normal_(m.weight, mean=1.0, std=0.3)
            nn.init.normal_(m.bias, std=0.3)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_dsc_layer_equals_a_naive_one(stride: int, dilation: int) -> None:
    layer = DSCLayer(3, 5, stride=stride, dilation=dilation).eval()
    randomise_norms(layer)
    x = torch.randn(1, 3, 6, 8, 10)
    with torch.no_grad():
        got = layer(x)[0].numpy()
    np.testing.assert_allclose(got, naive_dsc(x[0].double().numpy(), layer), atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 6, 1), (4, 6, 2)])
def test_block_equals_a_naive_one(inputs: int, outputs: int, stride: int) -> None:
    block = Block(inputs, outputs, layers=2, stride=stride).eval()
    randomise_norms(block)
    x = torch.randn(1, inputs, 8, 4, 6)
    start = x[0].double().numpy()
    if stride > 1:
        start = naive_dsc(start, block.entry)  # type: ignore[arg-type]
    shortcut = start
    if stride == 1 and inputs != outputs:
        weight = block.shortcut[0].weight.detach().double().numpy()[:, :, 0, 0, 0]  # type: ignore[index, union-attr]
        shortcut = naive_norm(np.einsum("oi,izyx->ozyx", weight, start), block.shortcut[1])  # type: ignore[index, arg-type]
    wanted = start
    for layer in block.layers:
        wanted = naive_dsc(wanted, layer)  # type: ignore[arg-type]
    with torch.no_grad():
        got = block(x)[0].numpy()
    np.testing.assert_allclose(got, np.maximum(wanted + shortcut, 0), atol=1e-5)


def test_output_layer_and_upsampling_commute() -> None:
    """The paper upsamples 48 maps and then applies the 1x1x1 layer; the decoder does it the other way round."""
    features = torch.randn(2, 48, 3, 4, 5, dtype=torch.float64)
    output = nn.Conv3d(48, 3, 1).double()
    torch.testing.assert_close(upsample(output(features), 2), output(upsample(features, 2)), rtol=0, atol=1e-12)


def test_upsampling_by_hand() -> None:
    """[0, 4] doubled between voxel centres: positions -0.25, 0.25, 0.75, 1.25, clamped to 0..1, are 0, 1, 3, 4."""
    row = torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 1, 2)
    assert upsample(row, 2)[0, 0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


@pytest.mark.parametrize("shape", [(1, 1, 4, 4, 4), (2, 1, 8, 12, 16)])
def test_logits_have_the_images_grid(shape: tuple[int, ...]) -> None:
    with torch.inference_mode():
        assert DeepLab3D().eval()(torch.zeros(shape)).shape == (shape[0], 3, *shape[2:])


@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 10), (1, 2, 8, 8, 8), (1, 8, 8, 8), (1, 1, 0, 8, 8)])
def test_a_wrong_shape_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input shape is .*, allowed: \(N, 1, Z, Y, X\) with Z, Y, X multiples of 4"):
        DeepLab3D()(torch.zeros(shape))


def test_whole_patches_decide_alone() -> None:
    """No layer mixes the patches of a batch in eval mode, and no pooling makes one depend on the patch's size."""
    network = DeepLab3D().eval()
    patches = torch.randn(3, 1, 8, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(patches)[1:2], network(patches[1:2]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "radius"), [("proposed", 83), ("bigger-encoder", 91), ("decoder-every-stage-2", 99)])
def test_receptive_field_equals_the_gradients(name: str, radius: int) -> None:
    """With all weights positive no gradient cancels: exactly the voxels of the analytic field have one."""
    arch = architecture_of(name)
    network = DeepLab3D(arch).eval()
    for parameter in network.parameters():
        parameter.data.abs_()
    radii = []
    for voxel in range(116, 120):
        line = torch.ones(1, 1, 232, 4, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(line)[0, :, voxel].sum(), line)
        touched = np.flatnonzero(gradient[0, 0].abs().amax((1, 2)).numpy())
        assert (touched[0], touched[-1]) == receptive_field(voxel, arch)
        radii += [voxel - touched[0], touched[-1] - voxel]
    assert max(radii) == receptive_radius(arch) == radius


def test_table_2_counted_by_hand() -> None:
    """What each row of Table 2 adds to the proposed 559,667 weights, and the shape of its logits."""
    conv = lambda inputs: 27 * inputs * 48 + 96  # noqa: E731 - a 3x3x3 to 48 maps and its BN
    proposed = conv(64) + conv(48)
    aspp_64 = (128 * 64 + 128) + 3 * (27 * 128 * 64 + 128) + (256 * 64 + 128)
    aspp_32 = (128 * 32 + 64) + 3 * (27 * 128 * 32 + 64) + (128 * 32 + 64)
    stages = conv(32 + 64) + conv(48 + 32) + conv(48 + 16)
    wanted = {
        "bigger-encoder": dsc(128, 128),
        "bigger-aspp": aspp_64 - aspp_32 + conv(96) - conv(64),
        "decoder-every-stage-1": stages - proposed,
        "decoder-every-stage-2": stages + 3 * conv(48) - proposed,
    }
    for name, more in wanted.items():
        network = DeepLab3D(architecture_of(name)).eval()
        assert count_parameters(network) == 559_667 + more, name
        with torch.inference_mode():
            assert network(torch.zeros(2, 1, 8, 12, 4)).shape == (2, 3, 8, 12, 4)
        assert Architecture.from_dict(network.architecture.to_dict()) == architecture_of(name)


@pytest.mark.parametrize("scale", [2, 4])
def test_upsampling_by_slices_equals_torchs(scale: int) -> None:
    x = torch.randn(2, 3, 1, 4, 5, dtype=torch.float64)
    sliced = x
    for axis in (2, 3, 4):
        sliced = upsample_axis(sliced, axis, scale)
    torch.testing.assert_close(sliced, upsample(x, scale), rtol=0, atol=1e-12)


def test_another_architecture_has_its_own_stride_and_field() -> None:
    small = Architecture(blocks=(BlockSpec(8, 1), BlockSpec(16, 1, stride=2)), low_level=0, aspp_dilations=(1, 1))
    assert (small.low_stride, small.multiple) == (1, 2)
    with torch.inference_mode():
        assert DeepLab3D(small).eval()(torch.zeros(1, 1, 2, 4, 6)).shape == (1, 3, 2, 4, 6)
    assert Architecture.from_dict(small.to_dict()) == small != Architecture.from_dict(Architecture().to_dict())
    # output 0: decoder -2..2, upsampled -2..1 (0.75 reads 0 and 1), ASPP -3..2, DSC -4..3, stride -9..7, DSC -10..8
    assert receptive_field(0, small) == (-10, 8)


def test_gradients_reach_every_weight() -> None:
    network = DeepLab3D().train()
    functional.cross_entropy(network(torch.randn(2, 1, 8, 8, 8)), torch.randint(3, (2, 8, 8, 8))).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(("share", "rates"), [(1.0, [0.5, 0.5, 0.1]), (0.5, [0.25, 0.25, 0.05]), (0.0, [0, 0, 0])])
def test_with_dropout(share: float, rates: list[float]) -> None:
    arch = Architecture().with_dropout(share)
    assert [m.p for m in DeepLab3D(arch).modules() if isinstance(m, nn.Dropout)] == pytest.approx(rates)
    assert Architecture.from_dict(arch.to_dict()) == arch
