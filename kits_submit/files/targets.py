"""Where masks go: each to a name of its own, over no input. Looked at before anything is computed or written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from kits_submit.errors import InputError, OutputError
from kits_submit.files.cases import Case
from kits_submit.files.folders import identity

_LONGEST_NAME = 255  # bytes, on any common file system


def check_targets(cases: Sequence[Case], output: Path, inputs: Iterable[Path]) -> None:
    """Refuse a run that would lose something.

    Args:
        output: the folder that the masks go below.
        inputs: every file that the run reads.

    Raises:
        InputError: two cases would have one mask file.
        OutputError: a mask would be written over an input, by whatever name, link or case of letters.
    """
    taken: dict[Path, Case] = {}
    for case in cases:
        other = taken.setdefault(case.target, case)
        if other is not case:
            raise InputError(
                f"its mask and that of {_name(other)} would both be {case.target}",
                fix="rename one of the two",
                path=case.image or case.folder,
            )
    read = {found: path for path in inputs if (found := identity(path)) is not None}
    for case in cases:
        clash = read.get(identity(output / case.target) or (0, 0))
        if clash is not None:
            raise OutputError(
                f"this run reads {clash}, and a mask would be written over it",
                fix="give another OUTPUT",
                path=output / case.target,
            )


def name_error(case: Case, output: Path) -> OutputError | None:
    """Why its mask cannot have its name; None where it can."""
    over = len(os.fsencode(case.target.name)) - _LONGEST_NAME
    if over <= 0:
        return None
    what = f"the mask's name is {over} bytes longer than a file system takes ({_LONGEST_NAME})"
    return OutputError(what, fix="rename the image", path=output / case.target)


def _name(case: Case) -> str:
    path = case.image or case.folder
    return case.case_id if path is None else path.name
