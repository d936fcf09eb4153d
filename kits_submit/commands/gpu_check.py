"""`kits-submit gpu-check`: PASS or FAIL, a line a check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kits_submit.commands.options import DEFAULT_MODEL, ModelOption
from kits_submit.errors import DeviceError


def gpu_check_command(
    *,
    model: ModelOption = DEFAULT_MODEL,
    half: Annotated[Path | None, typer.Option(help="The model in fp16 (`kits-submit export --half`).")] = None,
) -> None:
    """On a machine with an NVIDIA GPU: CUDA, fp16 and TensorRT against the CPU, throughput, memory.

    Prints a PASS, FAIL or SKIP line a check; exit code 0 where none failed, 8 without a GPU or where one did.
    """
    from kits_submit.console import say
    from kits_submit.engine.model import load_model
    from kits_submit.gpu_check import FAIL, check_engines, gpu_candidates, require_gpu

    require_gpu()
    loaded = load_model(model)
    failed = 0
    for check in check_engines(loaded, gpu_candidates(loaded, None if half is None else load_model(half))):
        failed += check.verdict == FAIL
        say(f"{check.verdict} {check.engine:<10} {check.name:<10} {check.finding}")
    if failed:
        raise DeviceError(f"{failed} checks failed", fix="use --device cpu, and update the driver")
