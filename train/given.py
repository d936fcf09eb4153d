"""What a run was given beside its numbers: it knows its own data, and goes on by `--resume` alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from kits_submit.atomic import write_text
from kits_submit.errors import InputError

GIVEN = "given.json"  # in a run folder


@dataclass(frozen=True)
class Given:
    """Each None where it was not given.

    - `data`, `interpolated`: folders of cases; without `data` a run has phantoms of its own. `cache`: its folder.
    - `init`: whose weights it started from. `minutes`, `threads`: as the options have them.
    """

    data: Path | None = None
    interpolated: Path | None = None
    cache: Path | None = None
    init: Path | None = None
    minutes: float | None = None
    threads: int | None = None

    def over(self, earlier: Given) -> Given:
        """What is given now, and what was before where it is not."""
        now = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(earlier, **{name: value for name, value in now.items() if value is not None})

    def check(self) -> Given:
        """Itself.

        Raises:
            InputError: a folder of its cases is not there any more.
        """
        for name, path in (("--data", self.data), ("--interpolated", self.interpolated)):
            if path is not None and not path.exists():
                raise InputError(
                    "the cases that the run was trained on are not there any more",
                    fix=f"give {name}, where they lie now: their content decides, not their place",
                    path=path,
                )
        return self

    def remember(self, run: Path) -> None:
        """Write it into a run's folder, paths made absolute.

        Raises:
            OutputError: cannot be written.
        """
        told = {k: str(v.absolute()) if isinstance(v, Path) else v for k, v in asdict(self).items() if v is not None}
        write_text(run / GIVEN, json.dumps(told, indent=2, sort_keys=True) + "\n")


def given_before(run: Path) -> Given:
    """What a run folder remembers; nothing where it has no such file.

    Raises:
        InputError: it cannot be read.
    """
    path = run / GIVEN
    if not path.is_file():
        return Given()
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        paths = {name: Path(raw[name]) for name in ("data", "interpolated", "cache", "init") if name in raw}
        return Given(**paths, minutes=raw.get("minutes"), threads=raw.get("threads"))
    except (OSError, ValueError, TypeError, AttributeError):
        raise InputError("it cannot be read", fix="delete it, and give --data", path=path) from None
