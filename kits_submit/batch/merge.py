"""The records of a run's parts put together into the one that the whole run would have left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kits_submit.atomic import replacing
from kits_submit.errors import InputError, batch_exit_code
from kits_submit.files.folders import GRAND_CHALLENGE_MASKS
from kits_submit.files.output import MANIFEST, PROGRAM
from kits_submit.files.parts import Part, parts_in
from kits_submit.mounts import mount_of, read_bytes

_SHOWN = 8
_ALIKE = ("made_by", "listing")
_OF_EACH = ("seconds", "exit_code", "device", "engine", "threads", "stepped_down")


@dataclass(frozen=True)
class Record:
    """What one part has left.

    - `document`: its `run.I-of-N.json`. `folder`: where that and its masks are.
    """

    part: Part
    folder: Path
    document: Mapping[str, Any]

    @property
    def shard(self) -> Mapping[str, Any]:
        """What it says of the whole: see `shard_facts`."""
        found: Mapping[str, Any] = self.document["shard"]
        return found

    def file(self, name: str) -> Path | None:
        """The part's own file of this name, where it has written one."""
        named = self.part.named(name)
        return self.folder / named if named in self.document["summaries"] else None


def shard_facts(part: Part, made_by: str, listing: str) -> dict[str, Any]:
    """What a part's record says of itself, so that only parts of one run are put together.

    Args:
        made_by: a hash of all that its masks follow from but the images.
        listing: a hash of the cases that were dealt out.
    """
    return {"shard": {"index": part.index, "of": part.count, "made_by": made_by, "listing": listing}}


def records(folders: Sequence[Path]) -> list[Record]:
    """All parts of one run, in order.

    Raises:
        InputError: there is none; one is missing, there twice, or has not ended; they are of different runs.
    """
    found = [_record(part, path) for folder in folders for part, path in parts_in(folder, MANIFEST).items()]
    if not found:
        raise InputError("no shard's run.I-of-N.json in it", fix="run its shards first", path=folders[0])
    first = found[0]
    for record in found:
        _refuse_other_run(record, first)
    indices = [record.part.index for record in found]
    twice = [index for index in set(indices) if indices.count(index) > 1]
    if twice:
        raise InputError(f"shard {twice[0]} is there twice", fix="give each folder once", path=first.folder)
    missing = sorted(set(range(1, first.part.count + 1)) - set(indices))
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        told = ", ".join(map(str, missing[:_SHOWN])) + more
        raise InputError(f"of {first.part.count} shards, missing: {told}", fix="run them", path=first.folder)
    return sorted(found, key=lambda record: record.part.index)


def merged(parts: Sequence[Record], summaries: Sequence[str]) -> dict[str, Any]:
    """`run.json` of the whole: every case, sorted; the seconds of the slowest part; a line on each part in `shards`."""
    document = dict(parts[0].document)
    del document["shard"]
    return document | {
        "seconds": max(part.document["seconds"] for part in parts),
        "exit_code": batch_exit_code(part.document["exit_code"] for part in parts if part.document["exit_code"]),
        "cases": sorted((entry for part in parts for entry in part.document["cases"]), key=lambda e: str(e["case"])),
        "summaries": list(summaries),
        "shards": [{"index": p.part.index, **{name: p.document.get(name) for name in _OF_EACH}} for p in parts],
    }


def bring_together(parts: Sequence[Record], into: Path) -> None:
    """Link the masks and pictures of other folders into `into`, or copy them where it is another file system.

    Raises:
        InputError: a mask is gone.
        OutputError: the folder cannot be written.
    """
    for part in parts:
        if not part.folder.samefile(into):
            for name in _files(part):
                _bring(part.folder / name, into / name)


def _files(part: Record) -> Iterator[Path]:
    for entry in part.document["cases"]:
        for name in (Path(entry[kind]) for kind in ("prediction", "picture") if entry.get(kind)):
            elsewhere = GRAND_CHALLENGE_MASKS / name
            yield elsewhere if (part.folder / elsewhere).exists() else name


def _bring(source: Path, target: Path) -> None:
    if mount_of(source) is None and mount_of(target) is None:
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            os.link(source, target)
            return
    try:
        with replacing(target) as raw:
            raw.write(read_bytes(source))
    except FileNotFoundError:
        raise InputError("a shard's record names it, and it is gone", fix="run that shard again", path=source) from None


def _refuse_other_run(record: Record, first: Record) -> None:
    if record.part.count != first.part.count:
        what = f"shards of {first.part.count} and of {record.part.count}"
        raise InputError(what, fix="give the shards of one run", path=record.folder)
    if any(record.shard.get(name) != first.shard.get(name) for name in _ALIKE):
        other = "model or other options" if record.shard.get("listing") == first.shard.get("listing") else "INPUT"
        what = f"shard {record.part} is of another {other} than shard {first.part}"
        raise InputError(what, fix="run it again as the others", path=record.folder)
    if record.document["exit_code"] is None:
        raise InputError(f"shard {record.part} has not ended", fix="run it again", path=record.folder)


def _record(part: Part, path: Path) -> Record:
    try:
        document = json.loads(path.read_bytes())
        ours = str(document["program"]).startswith(f"{PROGRAM} ")
        facts = document["shard"]
        whole = all(isinstance(document[name], list) for name in ("cases", "summaries"))
        if ours and whole and (facts["index"], facts["of"]) == (part.index, part.count) and "exit_code" in document:
            return Record(part, path.parent, document)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise InputError("no record of a shard", fix="move it away, or run that shard again", path=path)
