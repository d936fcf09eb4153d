"""What each round of KiTS takes as an upload: which cases, under which names, with which labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kits_submit.errors import InputError
from kits_submit.files.cases import prediction_name


@dataclass(frozen=True)
class Round:
    """- `cases`: the test images. `mask_name`: of a case's mask in the upload.
    - `labels`: what masks may hold; the organisers take anything else for background.
    - `memory`: what the organisers' machine grants, as `kits-submit rehearse --memory` takes it.
    """

    name: str
    cases: tuple[str, ...]
    mask_name: Callable[[str], str]
    labels: frozenset[int]
    memory: str


def _numbered(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"case_{number:05d}" for number in range(first, last + 1))


def _as_image(case: str) -> str:
    """KiTS21 and KiTS23 want a mask under its image's name."""
    return f"{case}.nii.gz"


ROUNDS: Mapping[str, Round] = MappingProxyType(
    {
        "kits19": Round("KiTS19", _numbered(210, 299), prediction_name, frozenset({0, 1, 2}), "16g"),
        "kits23": Round("KiTS23", _numbered(589, 698), _as_image, frozenset({0, 1, 2, 3}), "24g"),
    }
)


def round_of(name: str) -> Round:
    """Raises: InputError: another name."""
    if name not in ROUNDS:
        raise InputError(f"round is {name!r}, allowed: {', '.join(ROUNDS)}", fix="name one of them")
    return ROUNDS[name]
