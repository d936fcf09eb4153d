"""`kits-submit phantom`: synthetic cases to disk."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kits_submit.errors import InputError
from kits_submit.labels import LABEL_SETS

_CASES = 3


class Phase(StrEnum):
    """Contrast phases, as `kits_submit.phantom.phases` has them."""

    unenhanced = "unenhanced"
    corticomedullary = "corticomedullary"
    nephrographic = "nephrographic"
    excretory = "excretory"


def phantom_command(
    out: Annotated[Path, typer.Argument(help="Folder to write case_00000, case_00001, ... into.")],
    cases: Annotated[int | None, typer.Option(min=1, help=f"How many. Default: {_CASES}.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
    labels: Annotated[
        str, typer.Option(help="kits19: a cyst is kidney. kits23: cysts, as many and as large as there, are label 3.")
    ] = "kits19",
    max_slices: Annotated[
        int | None, typer.Option(min=1, help="Draw from the KiTS slice thicknesses that need no more slices.")
    ] = None,
    around: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS", help="Draw a CT around each label map of this folder, which stays as it is, grid and all."
        ),
    ] = None,
    phase: Annotated[
        Phase | None, typer.Option(help="With --around: of each case. Default: drawn, as often as KiTS has it.")
    ] = None,
) -> None:
    """Draw synthetic KiTS cases: an abdomen with kidneys, cysts and tumors, in KiTS's own layout and geometry."""
    from kits_submit.console import say
    from kits_submit.files.cases import find_masks
    from kits_submit.phantom import write_around, write_phantoms

    def told(case: str) -> None:
        say(f"drawn: {case}")

    if labels not in LABEL_SETS:
        raise InputError(f"labels is {labels!r}, allowed: {', '.join(LABEL_SETS)}", fix="name one of them")
    if around is None:
        if phase is not None:
            raise InputError("--phase is for --around alone", fix="leave it out: each phantom draws its own")
        write_phantoms(out, cases or _CASES, seed, max_slices=max_slices, labels=LABEL_SETS[labels], on_case=told)
        return
    if max_slices is not None:
        raise InputError("--max-slices is not for --around", fix="leave it out: the label maps say their slices")
    masks = find_masks(around)
    chosen = dict(list(masks.items())[:cases])
    write_around(out, chosen, seed, None if phase is None else phase.value, told)
