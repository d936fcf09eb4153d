"""`run.jsonl`: what became of each case, appended in one write as it ends, so that a kill loses no case that was done.

It stands beside `run.json` while a run goes on; at the run's end, however it ends but by SIGKILL, its lines are in
`run.json` and it is gone. Whoever wants to know how far a run is asks `entries`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kits_submit.atomic import finite
from kits_submit.files.output import MANIFEST

JOURNAL = "run.jsonl"


class Journal:
    """Appends entries, each with its `case`; where that fails (full disk), the run's last write will tell."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL

    def add(self, entry: Mapping[str, Any]) -> None:
        """One line, in one write."""
        line = json.dumps(finite(entry)).encode() + b"\n"
        with suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)

    def end(self) -> None:
        """Its lines are elsewhere now."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    """By case, what a run into `folder` has recorded so far; empty where there was none, or its file is not ours."""
    return {entry["case"]: entry for entry in (*_of_manifest(folder / MANIFEST), *_of_journal(folder / JOURNAL))}


def _of_manifest(path: Path) -> list[dict[str, Any]]:
    try:
        listed = json.loads(path.read_bytes())["cases"]
        return [entry for entry in listed if _is_entry(entry)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _of_journal(path: Path) -> list[dict[str, Any]]:
    """Its whole lines; a kill, or a full disk, may have cut one."""
    found = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [entry for entry in found if _is_entry(entry)]


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("case"), str)
