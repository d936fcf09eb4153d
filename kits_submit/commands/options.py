"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MODEL = Path(__file__).parents[2] / "models" / "kits.onnx"

ModelOption = Annotated[Path, typer.Option(envvar="KITS_MODEL", help="ONNX file written by `kits-submit export`.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, tensorrt, openvino or cpu.")]
