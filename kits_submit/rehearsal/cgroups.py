"""A control group of our own for a run's memory and processes, where this user may make one (v2 or v1)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kits_submit.machine.limits import own_cgroup

_FILES = {
    ("memory", 2): "memory.max",
    ("memory", 1): "memory.limit_in_bytes",
    ("pids", 2): "pids.max",
    ("pids", 1): "pids.max",
}


class ControlGroup:
    """One controller's group below our own, removed by `close`; `folder` is None where it cannot be made.

    Args:
        controller: `memory` or `pids`.
        limit: bytes, or processes and threads.
    """

    def __init__(self, controller: str, limit: int) -> None:
        self.folder: Path | None = None
        found = own_cgroup(controller)
        if found is None:
            return
        parent, version = found
        folder = parent / f"kits-rehearse-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            return
        try:
            (folder / _FILES[controller, version]).write_text(str(limit))
        except OSError:
            with suppress(OSError):
                folder.rmdir()
            return
        if controller == "memory":
            self._no_swap(folder, version, limit)
        self.folder = folder

    def close(self) -> None:
        if self.folder is not None:
            with suppress(OSError):
                self.folder.rmdir()

    def _no_swap(self, folder: Path, version: int, limit: int) -> None:
        with suppress(OSError):
            if version == 2:
                (folder / "memory.swap.max").write_text("0")
            else:
                (folder / "memory.memsw.limit_in_bytes").write_text(str(limit))
