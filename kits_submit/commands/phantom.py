"""`kits-submit phantom`: synthetic cases to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kits_submit.errors import InputError
from kits_submit.labels import LABEL_SETS


def phantom_command(
    out: Annotated[Path, typer.Argument(help="Folder to write case_00000, case_00001, ... into.")],
    cases: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
    labels: Annotated[
        str, typer.Option(help="kits19: a cyst is kidney. kits23: cysts, as many and as large as there, are label 3.")
    ] = "kits19",
    max_slices: Annotated[
        int | None, typer.Option(min=1, help="Draw from the KiTS slice thicknesses that need no more slices.")
    ] = None,
) -> None:
    """Draw synthetic KiTS cases: an abdomen with kidneys, cysts and tumors, in KiTS's own layout and geometry."""
    from kits_submit.console import say
    from kits_submit.phantom import write_phantoms

    if labels not in LABEL_SETS:
        raise InputError(f"labels is {labels!r}, allowed: {', '.join(LABEL_SETS)}", fix="name one of them")
    known = LABEL_SETS[labels]
    write_phantoms(out, cases, seed, max_slices=max_slices, labels=known, on_case=lambda case: say(f"drawn: {case}"))
