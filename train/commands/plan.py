"""`kits-submit train --plan`: what the evening would cost, said before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kits_submit.console import facts_table, show

if TYPE_CHECKING:
    from train.config import TrainConfig
    from train.given import Given


def show_plan(given: Given, run: Path, config: TrainConfig, jobs: int | None, device: str) -> None:
    """Print it as a table on stdout.

    Raises:
        KitsError: data that cannot be used, a device that is not there.
    """
    from kits_submit.console import say
    from kits_submit.machine.processors import processors
    from train.compute.device import choose_device
    from train.studies.plan import plan_cases, plan_steps

    cases = None if given.data is None else plan_cases(given.data, config, jobs or processors(), say)
    rows = [("run folder", str(run)), *(_phantoms(config) if cases is None else cases.rows())]
    trained = config.phantoms - round(config.holdout * config.phantoms) if cases is None else cases.in_training
    chosen = choose_device(device)
    for name, stage in (("first stage", config), ("second stage", config.second())):
        if stage is not None:
            rows += plan_steps(name, stage, trained, chosen).rows()
    show(facts_table(f"What preset {config.preset} takes here", rows))


def _phantoms(config: TrainConfig) -> list[tuple[str, str]]:
    return [("cases", f"{config.phantoms} phantoms, drawn into the run folder first")]
