"""3D DeepLab v3+: encoder, ASPP and decoder put together, its receptive field, and the arguments that define it.

    input N1ZYX -> Encoder -> high (stride 4) -> ASPP -> Decoder <- low (stride 2) -> logits NKZYX

The module knows nothing about HU, patches or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from torch import Tensor, nn

from train.network.aspp import ASPP
from train.network.decoder import Decoder, StagewiseDecoder
from train.network.encoder import LOW_LEVEL, TABLE_1, BlockSpec, Encoder


@dataclass(frozen=True)
class Architecture:
    """Every number of section 2.1 and Table 1. Travels in the checkpoint; a loader rebuilds from it.

    - `low_level`: index of the block whose output goes to the decoder beside the ASPP's.
    - `stage_outputs`: given, the decoder is `StagewiseDecoder`, which takes these blocks' outputs, deepest first, and
      combines each in `stage_layers` layers; `low_level` and `decoder_dropouts[1]` then stand idle.
    """

    inputs: int = 1
    classes: int = 3
    stem: int = 8
    blocks: tuple[BlockSpec, ...] = TABLE_1
    low_level: int = LOW_LEVEL
    aspp_channels: int = 32
    aspp_dilations: tuple[int, ...] = (1, 1, 2, 3)
    aspp_dropout: float = 0.5
    decoder_channels: int = 48
    decoder_dropouts: tuple[float, float] = (0.5, 0.1)
    stage_outputs: tuple[int, ...] = ()
    stage_layers: int = 1

    @property
    def taps(self) -> tuple[int, ...]:
        """Blocks whose outputs go to the decoder beside the ASPP's, deepest first."""
        return self.stage_outputs or (self.low_level,)

    def stride(self, block: int) -> int:
        """Of a block's output."""
        return math.prod(spec.stride for spec in self.blocks[: block + 1])

    @property
    def low_stride(self) -> int:
        """Of the shallowest features that go to the decoder: 2."""
        return self.stride(self.taps[-1])

    @property
    def multiple(self) -> int:
        """The total stride: 4. Any input edge must be a multiple of it."""
        return math.prod(spec.stride for spec in self.blocks)

    def with_dropout(self, share: float) -> Self:
        """The same with each dropout rate multiplied by `share`."""
        first, second = self.decoder_dropouts
        return replace(self, aspp_dropout=self.aspp_dropout * share, decoder_dropouts=(first * share, second * share))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, equal after a trip through JSON."""
        raw = asdict(self)
        raw["blocks"] = [list(spec) for spec in self.blocks]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in raw.items()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            TypeError: an unknown field or a value of the wrong kind.
        """
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
        values["blocks"] = tuple(BlockSpec(*spec) for spec in raw["blocks"])
        return cls(**values)


class DeepLab3D(nn.Module):
    """Standardised HU (N, 1, Z, Y, X), edges multiples of 4 -> logits (N, 3, Z, Y, X). 559,667 weights."""

    def __init__(self, architecture: Architecture | None = None) -> None:
        super().__init__()
        arch = architecture or Architecture()
        self.architecture = arch
        self.encoder = Encoder(arch.inputs, arch.stem, arch.blocks, arch.taps)
        self.aspp = ASPP(arch.blocks[-1].channels, arch.aspp_channels, arch.aspp_dilations, arch.aspp_dropout)
        self.decoder = _decoder(arch)
        self.apply(_initialise)

    def forward(self, image_NCZYX: Tensor) -> Tensor:
        """Raises: ValueError: not 5-D, another number of channels, or an edge that is no multiple of the stride."""
        shape, arch = tuple(image_NCZYX.shape), self.architecture
        if len(shape) != 5 or shape[1] != arch.inputs or any(edge < 1 or edge % arch.multiple for edge in shape[2:]):
            allowed = f"(N, {arch.inputs}, Z, Y, X) with Z, Y, X multiples of {arch.multiple}"
            raise ValueError(f"input shape is {shape}, allowed: {allowed}")
        return self.compute(image_NCZYX)

    def compute(self, image_NCZYX: Tensor) -> Tensor:
        """`forward` without its check: what the export traces."""
        taken, high = self.encoder(image_NCZYX)
        return self.decoder(self.aspp(high), *taken)  # type: ignore[no-any-return]


def count_parameters(module: nn.Module) -> int:
    """Trainable weights: convolution kernels, BN scales and shifts, the output's bias."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _decoder(arch: Architecture) -> nn.Module:
    channels = tuple(arch.blocks[index].channels for index in arch.taps)
    if not arch.stage_outputs:
        return Decoder(
            arch.aspp_channels + channels[0],
            arch.decoder_channels,
            arch.classes,
            dropouts=arch.decoder_dropouts,
            scales=(arch.multiple // arch.low_stride, arch.low_stride),
        )
    return StagewiseDecoder(
        arch.aspp_channels,
        channels,
        arch.decoder_channels,
        arch.classes,
        layers=arch.stage_layers,
        dropout=arch.decoder_dropouts[0],
        strides=(arch.multiple, *(arch.stride(index) for index in arch.taps)),
    )


def _initialise(module: nn.Module) -> None:
    """He et al. (arXiv 1502.01852), fan-in, for layers before a ReLU; the paper names no initialisation."""
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
