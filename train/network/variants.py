"""The networks of the paper's Table 2 by name: what each changes of the proposed one (section 3.2)."""

from __future__ import annotations

from dataclasses import replace

from train.network.deeplab import Architecture
from train.network.encoder import TABLE_1, BlockSpec

_STAGE_ENDS = (5, 3, 1)  # the last blocks of stages 3, 2 and 1; stage 4's goes through the ASPP


def architecture_of(name: str, outputs: int = 3) -> Architecture:
    """`proposed`, or a row of Table 2:

    - `bigger-encoder`: "adding an extra layer to the final stage": one more block of 128 maps at dilation 2.
    - `bigger-aspp`: "increasing the number of channels produced by every layer of the ASPP": 64 for 32.
    - `decoder-every-stage-1`, `-2`: `StagewiseDecoder` with that many layers a stage.

    Args:
        outputs: channels of its answer.

    Raises:
        KeyError: another name.
    """
    proposed = Architecture(classes=outputs)
    return {
        "proposed": proposed,
        "bigger-encoder": replace(proposed, blocks=(*TABLE_1, BlockSpec(128, 1, dilation=2))),
        "bigger-aspp": replace(proposed, aspp_channels=64),
        "decoder-every-stage-1": replace(proposed, stage_outputs=_STAGE_ENDS, stage_layers=1),
        "decoder-every-stage-2": replace(proposed, stage_outputs=_STAGE_ENDS, stage_layers=2),
    }[name]
