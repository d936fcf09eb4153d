"""`kits-submit implant`: tumors and cysts drawn into real kidneys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def implant_command(
    source: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of labelled cases.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write case_00000, case_00001, ... into.")],
    copies: Annotated[int, typer.Option(min=1, help="Implanted copies of each case.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
    labels: Annotated[
        str, typer.Option(help="Of the data: kits19 (a cyst drawn is kidney), kits23 (label 3), or kidney,tumor,..")
    ] = "kits19",
) -> None:
    """Draw tumors and cysts into the kidneys of real, labelled CT, for training and for testing."""
    from kits_submit.console import say
    from kits_submit.files.cases import find_cases
    from train.config import TrainConfig
    from train.synthesis.implant_cases import implant_cases

    for copy in implant_cases(find_cases(source), out, copies, seed, TrainConfig(labels=labels).label_set):
        say(f"drawn: {copy.case} ({', '.join(f'{row[4]} {row[5]:g} mL' for row in copy.rows)})")
