"""How many processors this process may use: of its affinity and of its container's quota, not of the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from kits_submit.machine.limits import own_cgroups


def processors() -> int:
    """At least one; a quota of 1.5 processors is two, for one thread alone would leave half a processor idle."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Processors' worth of time that the own control group and each above it may take."""
    for folder, version in own_cgroups("cpu"):
        quota = _of_v2(folder / "cpu.max") if version == 2 else _of_v1(folder)
        if quota is not None:
            yield quota


def _of_v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max 100000" where there is none
        return None


def _of_v1(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else None  # -1 where there is none
    except (OSError, ValueError, ZeroDivisionError):
        return None
