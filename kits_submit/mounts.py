"""Folders of this machine that stand for one in a bucket: the names are here, the bytes there.

A file below such a folder is a name of the object's size that holds nothing; who opens, proves, publishes or removes a
file asks here first. Knows no bucket: `kits_submit.files.remote` makes the mounts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any


class Mount(ABC):
    """- `root`: the folder here. Every path given to its methods lies below it."""

    root: Path

    @abstractmethod
    def open(self, path: Path) -> IO[bytes]:
        """The object's bytes, which can be sought; raises KitsError as they are read."""

    @abstractmethod
    def content(self, path: Path) -> str | None:
        """What names the object's content now (its ETag); None where it is gone.

        Raises:
            KitsError: the bucket does not say.
        """

    @abstractmethod
    def listed(self, path: Path) -> str | None:
        """As `content`, of the object that the run began with."""

    @abstractmethod
    def only(self, paths: Iterable[Path]) -> Mount:
        """The mount with these names alone, to be sent to who reads no others."""

    @abstractmethod
    def publish(self, path: Path) -> None:
        """Put a file that is whole here there, whole or not at all.

        Raises:
            OutputError: it cannot be written there; the file here is gone.
        """

    @abstractmethod
    def remove(self, path: Path) -> None:
        """Remove the object, where there is one, and what was appended under its name."""

    @abstractmethod
    def append(self, path: Path, entry: Mapping[str, Any], line: bytes) -> None:
        """Keep a line of the file there: of the entry's case, as an object of its own."""


def read_bytes(path: Path) -> bytes:
    """A file's bytes, wherever they are."""
    mount = mount_of(path)
    if mount is None:
        return path.read_bytes()
    with mount.open(path) as stream:
        return stream.read()


_mounts: dict[Path, Mount] = {}


def add(mount: Mount) -> None:
    """Let files below its root be those of the mount."""
    _mounts[mount.root] = mount


def drop(roots: Iterable[Path]) -> None:
    """Forget mounts."""
    for root in roots:
        _mounts.pop(root, None)


def all_mounts() -> list[Mount]:
    """Those there are, for a process that is to have them, too."""
    return list(_mounts.values())


def mount_of(path: Path) -> Mount | None:
    """The mount that a path lies below; None of a file of this machine."""
    if not _mounts:
        return None
    return next((mount for root, mount in _mounts.items() if path.is_relative_to(root)), None)
