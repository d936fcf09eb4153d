"""What a judge grants, and how a limit of his is held here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kits_submit.errors import InputError

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Budget:
    """- `memory_bytes`: of all processes together; `seconds`: of the whole run; `case_seconds`: of each case.
    - `processes`: processes and threads together, as a pids limit counts; `files`: open ones of a process.
    """

    memory_bytes: int
    seconds: float
    case_seconds: float | None = None
    processes: int = 256
    files: int = 1024


@dataclass(frozen=True)
class Limit:
    """- `how`: what holds it, or what was done instead; `enforced`: whether a run that breaks it is stopped by it."""

    name: str
    how: str
    enforced: bool


def parse_bytes(text: str) -> int:
    """`16g`, `512m`, `1.5GiB` or plain bytes, in powers of 1024 as Docker takes them.

    Raises:
        InputError: anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match["number"]) * _UNITS[match["unit"].lower()]) if match else 0
    if size < 1:
        raise InputError(f"memory {text!r} is no size", fix="give one such as 16g or 512m")
    return size
