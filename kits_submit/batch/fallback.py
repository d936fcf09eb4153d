"""`--on-failure background`: an all-background mask for a case that failed, where its header tells the grid.

KiTS counts a missing case as background; some judges stop at a missing file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kits_submit.batch.outcome import CaseResult
from kits_submit.errors import BudgetError, GeometryError, KitsError, VolumeError
from kits_submit.files.cases import Case
from kits_submit.files.masks import write_mask
from kits_submit.files.volume import read_grid

_FORGIVEN = {kind.exit_code for kind in (VolumeError, GeometryError, BudgetError)}


class Background:
    """Gives each failed case whose header can be read its mask."""

    def __init__(self, cases: Sequence[Case], output: Path) -> None:
        self._cases = {case.case_id: case for case in cases}
        self._output = output

    def __call__(self, result: CaseResult) -> CaseResult:
        """The result, with `status` `background` and the mask's name where one was written; the error stays."""
        case = self._cases[result.case]
        image = case.image
        if not result.error or image is None:
            return result
        try:
            grid = read_grid(image)
            write_mask(self._output / case.target, np.zeros(grid.shape, np.uint8), grid)
        except KitsError:
            return result
        return replace(result, status="background", prediction=case.target.name)


def counts_as_failure(result: CaseResult) -> bool:
    """Whether the exit code tells of it: a mask in place of a case at fault is what was asked for, a failing device
    or model is not."""
    return bool(result.error) and not (result.status == "background" and result.exit_code in _FORGIVEN)
