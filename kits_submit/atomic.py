"""Files that are whole or not there: written beside, then renamed. Knows no format but JSON and text."""

from __future__ import annotations

import fcntl
import glob
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from kits_submit.errors import OutputError
from kits_submit.mounts import mount_of

_LONGEST_NAME = 255  # bytes, on any common file system


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file beside `path` that takes its name when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{_beside(path)}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as raw:
            _hold(raw)
            yield raw
            raw.flush()
            os.fsync(raw.fileno())
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
        if (mount := mount_of(path)) is not None:
            mount.publish(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        beside.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, where there is one.

    Raises:
        OSError: it is there and cannot be removed.
        OutputError: the same of an object in a bucket.
    """
    path.unlink(missing_ok=True)
    if (mount := mount_of(path)) is not None:
        mount.remove(path)


def _beside(path: Path) -> str:
    """`.NAME`, cut where a name that is as long as a file system takes leaves no room for more."""
    return os.fsdecode(os.fsencode(f".{path.name}")[: _LONGEST_NAME - len(".12345678.part")])


def _hold(raw: IO[bytes]) -> None:
    """A lock that ends with this process."""
    with suppress(OSError):  # some network file systems know no locks
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_abandoned(path: Path) -> None:
    """What processes that were killed left beside `path`: nobody holds it."""
    remove_unheld(path.parent.glob(f"{glob.escape(_beside(path))}.????????.part"))


def remove_unheld(parts: Iterable[Path]) -> None:
    """Remove half-written files, but for those that a process is writing."""
    for part in parts:
        with suppress(OSError), part.open("rb") as raw:
            fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8.

    Raises:
        OutputError: the file cannot be written.
    """
    _remove_abandoned(path)
    with replacing(path) as raw:
        raw.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; NaN and infinite numbers become null.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, json.dumps(finite(content), indent=2) + "\n")


def finite(value: Any) -> Any:
    """The value with null in place of each NaN and infinite number, at any depth."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot be written ({error.strerror or error})", fix="check space and permissions", path=path)
