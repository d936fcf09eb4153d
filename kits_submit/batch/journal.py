"""What became of each case, appended in one write as it ends, so that a kill loses no case that was done.

Each process that ends cases appends to a file of its own, for an append is whole on a local file system alone:
`run.jsonl` of a run on one machine, `run.2-of-8.jsonl` of a shard, `run.WRITER.jsonl` of a cluster's worker. They stand
beside `run.json` while a run goes on; at its end, however it ends but by SIGKILL, their lines are in `run.json` (of a
shard `run.2-of-8.json`) and they are gone. Whoever wants to know how far a run is asks `entries`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kits_submit.atomic import finite, remove
from kits_submit.errors import OutputError
from kits_submit.files.output import JOURNAL, MANIFEST
from kits_submit.files.parts import WHOLE, Part, parts_in
from kits_submit.mounts import mount_of

_OF_WRITERS = "run.*.jsonl"


class Journal:
    """Appends entries, each with its `case`; where that fails (full disk), the run's last write will tell.

    Args:
        name: of the file; no two processes write one.
    """

    def __init__(self, folder: Path, name: str = JOURNAL) -> None:
        self._path = folder / name

    def add(self, entry: Mapping[str, Any]) -> None:
        """One line, in one write."""
        line = json.dumps(finite(entry)).encode() + b"\n"
        if (mount := mount_of(self._path)) is not None:
            mount.append(self._path, entry, line)
            return
        with suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)

    def empty(self) -> None:
        """Its lines are elsewhere now, and more will come."""
        with suppress(OSError, OutputError):
            os.truncate(self._path, 0)
            if (mount := mount_of(self._path)) is not None:
                mount.remove(self._path)


def writer_name(writer: str) -> str:
    """Of the journal of a process among many."""
    return f"run.{writer}.jsonl"


def end_journals(folder: Path, part: Part = WHOLE, *, of_writers: bool = True) -> None:
    """Their lines are elsewhere now: of a part, its own; of a whole run, those of everybody, and the parts' records.

    Args:
        of_writers: those of a cluster's workers, too, of which a run that is stopped has not heard everything.
    """
    if not of_writers and mount_of(folder) is not None:
        return  # there each case is an object of its own, whoever wrote it
    gone = [folder / part.named(JOURNAL)]
    if part.is_whole and of_writers:
        gone += [*folder.glob(_OF_WRITERS), *parts_in(folder, MANIFEST).values()]
    for path in gone:
        with suppress(OSError, OutputError):
            remove(path)


def entries(folder: Path, part: Part = WHOLE) -> dict[str, dict[str, Any]]:
    """By case, what runs into `folder` have recorded so far; empty where there was none, or its files are not ours.

    Args:
        part: who asks. A part leaves out the other parts of the same N, which have other cases: N parts would read all
            that N have written.
    """
    others = [other for other in parts_in(folder, MANIFEST) if other == part or other.count != part.count]
    manifests = [MANIFEST, *(other.named(MANIFEST) for other in others)]
    journals = [path.name for path in sorted(folder.glob(_OF_WRITERS))] if part.is_whole else []
    named = dict.fromkeys([JOURNAL, *journals, part.named(JOURNAL), *(other.named(JOURNAL) for other in others)])
    found: Iterable[dict[str, Any]] = (
        *(entry for name in manifests for entry in _of_manifest(folder / name)),
        *(entry for name in named for entry in _of_journal(folder / name)),
    )
    return {entry["case"]: entry for entry in found}


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
