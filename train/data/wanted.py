"""Which cases of a data folder a training takes: those with an image and a label, less those that are left out.

KiTS19 as it is downloaded has 210 cases with labels and 90 without, and no error in that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kits_submit.errors import InputError, KitsError
from kits_submit.files.cases import Case
from kits_submit.files.volume import read_grid
from kits_submit.types import Shape
from train.config import TrainConfig

# The first release of KiTS19 labelled these wrongly: 23 and 125 were corrected in December 2019 (with 15 and 37),
# 68 and 133 are left out by nnU-Net too. A case of another grid has the number and is another patient.
KNOWN_BAD: dict[int, Shape] = {23: (107, 512, 512), 68: (626, 512, 512), 125: (171, 512, 512), 133: (186, 512, 512)}

_TOLD_MOST = 3


def wanted_cases(cases: Sequence[Case], config: TrainConfig, say: Callable[[str], None]) -> list[Case]:
    """Of the cases of a folder, those that `config` trains on; who is left out is told in a line a kind, by name alone.

    Only the headers of the numbers in `KNOWN_BAD` are read.

    Raises:
        InputError: no case has a label.
    """
    labelled = _labelled(cases, say)
    kept = [case for case in labelled if case.case_id not in config.omit_cases]
    omitted = [case.case_id for case in labelled if case.case_id in config.omit_cases]
    if omitted:
        say(f"left out by --omit-cases: {', '.join(omitted)}")
    bad = [case.case_id for case in kept if _known_bad(case)]
    if bad and config.omit_known_bad:
        say(f"left out for their labels: {', '.join(bad)}")
        return [case for case in kept if case.case_id not in bad]
    if bad:
        say(f"wrongly labelled in KiTS19's first release: {', '.join(bad)}; --omit-known-bad leaves them out")
    return kept


def _labelled(cases: Sequence[Case], say: Callable[[str], None]) -> list[Case]:
    kinds = (
        ("without a label", [case for case in cases if case.image is not None and case.label is None]),
        ("with a label and no image", [case for case in cases if case.image is None and case.label is not None]),
        ("with neither image nor label", [case for case in cases if case.image is None and case.label is None]),
    )
    rest = [case for case in cases if case.image is not None and case.label is not None]
    told = [f"{len(left)} {'case' if len(left) == 1 else 'cases'} {kind} ({_some(left)})"
            for kind, left in kinds if left]  # fmt: skip
    if not rest:
        raise InputError(
            f"nothing to train on: {'; '.join(told)}", fix="give cases that have both an image and a label"
        )
    for line in told:
        say(f"left out: {line}; {len(rest)} are labelled")
    return rest


def _some(cases: Sequence[Case]) -> str:
    names = [case.case_id for case in cases]
    return ", ".join(names) if len(names) <= _TOLD_MOST else f"{names[0]} to {names[-1]}"


def _known_bad(case: Case) -> bool:
    if case.number not in KNOWN_BAD or case.label is None:
        return False
    try:
        return read_grid(case.label).shape == KNOWN_BAD[case.number]
    except KitsError:
        return False
