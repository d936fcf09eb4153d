"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[Path, typer.Option(envvar="KITS_MODEL", help="ONNX file written by `kits-submit export`.")]


class Device(StrEnum):
    """`engine.select.DEVICES`, spelled here so that `--help` loads nothing."""

    auto = "auto"
    cuda = "cuda"
    tensorrt = "tensorrt"
    openvino = "openvino"
    cpu = "cpu"


class ScoredBy(StrEnum):
    """A protocol of `evaluation.kits`, spelled here for the same reason."""

    paper = "paper"
    kits19 = "kits19"
    kits23 = "kits23"
    all = "all"


DeviceOption = Annotated[Device, typer.Option(help="What computes; auto takes the first that runs here.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads of an engine on the CPU. Default: the processors that this process may use.",
        show_default=False,
    ),
]  # fmt: skip


class Precision(StrEnum):
    """`engine.select.PRECISIONS`, spelled here for the same reason."""

    fp32 = "fp32"
    bf16 = "bf16"
    auto = "auto"


PrecisionOption = Annotated[
    Precision, typer.Option(help="Of OpenVINO; auto takes bf16 where this machine's labels stay the same.")
]


class OnFailure(StrEnum):
    """What stands in the output folder for a case that failed."""

    error = "error"
    background = "background"


class Names(StrEnum):
    """How cases and their masks are called."""

    kits = "kits"
    source = "source"
    patient = "patient"


class Also(StrEnum):
    """What to write of a DICOM series beside its Segmentation."""

    nifti = "nifti"
    labelmap = "labelmap"
    sr = "sr"
    rtstruct = "rtstruct"
