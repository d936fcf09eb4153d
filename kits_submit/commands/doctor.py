"""`kits-submit doctor`: what would run here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kits_submit import __version__
from kits_submit.commands.options import Device, DeviceOption, ModelOption
from kits_submit.errors import batch_exit_code
from kits_submit.places import DEFAULT_MODEL


def doctor_command(
    *,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = Device.auto,
    output: Annotated[Path | None, typer.Option(help="Also try to write into this folder.")] = None,
) -> None:
    """Say what would run here and why, whether the model is whole, and whether memory and disk suffice.

    Exit code 0 if this machine is fit, else the kind of what makes it unfit.
    """
    from kits_submit.checks.doctor import examine
    from kits_submit.console import facts_table, say, show

    facts, failures = examine(model, device, output)
    verdict = "unfit" if failures else "fit"
    show(facts_table(f"kits-submit {__version__}", [*facts, ("verdict", verdict)]))
    for failure in failures:
        say(f"error: {failure}")
    raise typer.Exit(batch_exit_code(failure.exit_code for failure in failures))
