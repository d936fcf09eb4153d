"""Which part of a run's cases a process does, and what its files beside the masks are called. Knows no cases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

_NAMED = re.compile(r"(?P<stem>.+)\.(?P<index>\d+)-of-(?P<count>\d+)(?P<suffix>\.[a-z]+)")


@dataclass(frozen=True)
class Part:
    """- `index`: from 1 to `count`."""

    index: int = 1
    count: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether it is all that there is."""
        return self.count == 1

    def named(self, name: str) -> str:
        """`run.json` of the whole run; of its second part of eight `run.2-of-8.json`."""
        path = PurePath(name)
        return name if self.is_whole else f"{path.stem}.{self.index}-of-{self.count}{path.suffix}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Part()


def parts_in(folder: Path, name: str) -> dict[Part, Path]:
    """The files of this name that parts have written into a folder; empty where it cannot be listed."""
    wanted = PurePath(name)
    try:
        entries = list(folder.iterdir())
    except OSError:
        return {}
    found = {}
    for entry in entries:
        match = _NAMED.fullmatch(entry.name)
        if match and (match["stem"], match["suffix"]) == (wanted.stem, wanted.suffix):
            found[Part(int(match["index"]), int(match["count"]))] = entry
    return dict(sorted(found.items(), key=lambda item: (item[0].count, item[0].index)))
