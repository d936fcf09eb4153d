"""`kits-submit doctor`: what would run here."""

from __future__ import annotations

from kits_submit import __version__
from kits_submit.commands.options import DEFAULT_MODEL, DeviceOption, ModelOption


def doctor_command(model: ModelOption = DEFAULT_MODEL, device: DeviceOption = "auto") -> None:
    """Say which device would run and why, the versions in use, and whether the model is whole."""
    from kits_submit.console import facts_table, show
    from kits_submit.doctor import examine

    facts, failure = examine(model, device)
    show(facts_table(f"kits-submit {__version__}", facts))
    if failure is not None:
        raise failure
