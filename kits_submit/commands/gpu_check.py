"""`kits-submit gpu-check`: PASS or FAIL, a line a check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kits_submit.commands.options import ModelOption
from kits_submit.errors import DeviceError, ModelError
from kits_submit.places import DEFAULT_MODEL


def gpu_check_command(
    *,
    model: ModelOption = DEFAULT_MODEL,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="The model written otherwise (`kits-submit export --half`, `--depthwise`); may be repeated."),
    ] = None,
) -> None:
    """On a machine with an NVIDIA GPU: CUDA, other forms of the model and TensorRT against the CPU.

    Prints a PASS, FAIL or SKIP line a check; exit code 0 where none failed, 8 without a GPU or where one did.
    """
    from kits_submit.checks.gpu_check import FAIL, check_engines, gpu_candidates, require_gpu
    from kits_submit.console import say
    from kits_submit.engine.model import load_model

    require_gpu()
    loaded = load_model(model)
    failed = 0
    others = [load_model(path) for path in also or ()]
    for other in others:
        if (other.recipe, other.crop) != (loaded.recipe, loaded.crop):
            raise ModelError(
                "its Recipe or its crop is another than the model's", fix="export it from --model", path=other.path
            )
    candidates = gpu_candidates(loaded, others)
    widest = max(len(candidate.name) for candidate in candidates)
    for check in check_engines(loaded, candidates):
        failed += check.verdict == FAIL
        say(f"{check.verdict} {check.engine:<{widest}} {check.name:<10} {check.finding}")
    if failed:
        raise DeviceError(f"{failed} checks failed", fix="use what passed, or --device cpu; update the driver")
