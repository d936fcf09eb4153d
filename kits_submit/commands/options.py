"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[Path, typer.Option(envvar="KITS_MODEL", help="ONNX file written by `kits-submit export`.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, tensorrt, openvino or cpu.")]


class OnFailure(StrEnum):
    """What stands in the output folder for a case that failed."""

    error = "error"
    background = "background"


class Also(StrEnum):
    """What to write of a DICOM series beside its Segmentation."""

    nifti = "nifti"
    labelmap = "labelmap"
    sr = "sr"


class Names(StrEnum):
    """What DICOM cases are called by."""

    hash = "hash"
    patient = "patient"
