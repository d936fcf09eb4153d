"""A folder of a bucket, mounted: its names are files of this machine that hold nothing but their size."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from kits_submit.errors import InputError, KitsError, show_as
from kits_submit.files.remote.reader import open_object
from kits_submit.files.remote.store import Found, Store
from kits_submit.files.remote.urls import Url
from kits_submit.mounts import Mount

_AT_ONCE = 16
_LINES = ".d"  # of run.jsonl: a folder with an object a line


class BucketMount(Mount):
    """What lies below `url`, below `root`. It can be pickled: another process then has the same names and tags."""

    def __init__(self, root: Path, url: Url) -> None:
        self.root, self.url = root, url
        self.found: dict[str, Found] = {}
        self._store: Store | None = None
        show_as(root, str(url))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_store": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        show_as(self.root, str(self.url))

    @property
    def store(self) -> Store:
        """Opened when it is first asked for."""
        self._store = self._store or Store(self.url)
        return self._store

    def take_names(self, objects: Iterable[Found]) -> None:
        """Let these objects be files here."""
        start = len(self.url.key) + 1 if self.url.key else 0
        for found in objects:
            name = found.key[start:]
            if name and not name.endswith("/") and ".." not in name.split("/"):
                self.found[name] = found
                _hollow(self.root / name, found)

    def fetch(self, name: str) -> Path:
        """An object's bytes as a file here."""
        path = self.root / name
        self._refuse_without_room(self.found[name].size, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.open(path) as source, path.open("wb") as out:
            while block := source.read(1 << 20):
                out.write(block)
        return path

    def fetch_all(self, names: Iterable[str]) -> None:
        """As `fetch`, several at a time."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.fetch, names))

    def open(self, path: Path) -> IO[bytes]:
        name = self._name(path)
        found = self.found.get(name) or self._head(name)
        if found is None:
            raise InputError("no such object", fix="check the address", path=path)
        return open_object(self.store, found.key, found.size, found.tag)

    def content(self, path: Path) -> str | None:
        found = self._head(self._name(path))
        return None if found is None else found.tag

    def listed(self, path: Path) -> str | None:
        found = self.found.get(self._name(path))
        return None if found is None else found.tag

    def only(self, paths: Iterable[Path]) -> BucketMount:
        less = copy.copy(self)
        names = [self._name(path) for path in paths if path.is_relative_to(self.root)]
        less.found = {name: self.found[name] for name in names if name in self.found}
        return less

    def publish(self, path: Path) -> None:
        name = self._name(path)
        try:
            self.store.put(self._key(name), path)
            found = self._head(name)
        except KitsError:
            path.unlink(missing_ok=True)
            raise
        if found is not None:
            self.found[name] = found
            if path.suffix not in (".json", ".csv"):  # those are read again, and small
                _hollow(path, found)

    def remove(self, path: Path) -> None:
        name = self._name(path)
        gone = [self._key(name)] if self.found.pop(name, None) is not None else []
        if name.endswith(".jsonl"):  # other processes have appended to it, too
            gone += [found.key for found in self.store.below(self._key(f"{name}{_LINES}"))]
        self.store.remove(gone)

    def append(self, path: Path, entry: Mapping[str, Any], line: bytes) -> None:
        name = f"{self._name(path)}{_LINES}/{entry['case']}.json"
        with suppress(KitsError):  # as on a full disk, the run's last write will tell
            self.store.put(self._key(name), line)

    def gather_lines(self) -> None:
        """Make the journals here of the lines that are kept there."""
        names = sorted(name for name in self.found if f".jsonl{_LINES}/" in name)
        self.fetch_all(names)
        for name in names:
            with (self.root / name.partition(f"{_LINES}/")[0]).open("ab") as out:
                out.write((self.root / name).read_bytes())

    def _head(self, name: str) -> Found | None:
        return self.store.head(self._key(name))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _key(self, name: str) -> str:
        return f"{self.url.key}/{name}" if self.url.key else name

    def _refuse_without_room(self, size: int, path: Path) -> None:
        there = os.statvfs(self.root)
        if size > there.f_bavail * there.f_frsize:
            raise InputError(f"no room to unpack {size / 1e9:.1f} GB", fix="set TMPDIR to a larger disk", path=path)


def _hollow(path: Path, found: Found) -> None:
    """A file of the object's size and time that takes no space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as hollow:
        hollow.truncate(found.size)
    os.utime(path, (found.modified, found.modified))
