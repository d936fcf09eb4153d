"""What `nvidia-smi` tells of this machine's GPUs. Nothing else asks it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

_SECONDS = 20.0


class Gpu(NamedTuple):
    """`memory`: of the whole card, with its unit."""

    name: str
    driver: str
    memory: str


def gpus() -> Sequence[Gpu]:
    """Each NVIDIA GPU; none where `nvidia-smi` is missing or does not answer."""
    rows = _asked("name,driver_version,memory.total", "csv,noheader")
    return [Gpu(*row) for row in rows if len(row) == len(Gpu._fields)]


def gpu_bytes() -> int | None:
    """Memory in use on all of them; None where `nvidia-smi` does not tell."""
    used = [row[0] for row in _asked("memory.used", "csv,noheader,nounits")]
    return sum(int(mib) for mib in used) << 20 if used and all(mib.isdigit() for mib in used) else None


def _asked(fields: str, form: str) -> list[list[str]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = (program, f"--query-gpu={fields}", f"--format={form}")
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout  # noqa: S603
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return [[part.strip() for part in line.split(",")] for line in told.splitlines() if line.strip()]
