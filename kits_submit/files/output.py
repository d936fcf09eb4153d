"""The folder that a run writes into: held against a second run, proven to be writable before an hour is computed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kits_submit.errors import OutputError
from kits_submit.files.cases import GRAND_CHALLENGE_MASKS

SCORES = ("scores.csv", "scores.json")


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make the folder, hold it against a second run, and prove that files can be written, before an hour is computed.

    An earlier run's scores go, so that they cannot be read as this one's, and half-written files of a run that was
    killed; its masks stay, and its manifest, which `kits_submit.batch.ledger` resumes from and replaces. The hold is a
    lock that ends with this process and leaves no file.

    Raises:
        OutputError: the folder cannot be written, or another run is writing into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        _lock(handle, folder)
        _prepare(folder)
        yield
    finally:
        os.close(handle)


def _prepare(folder: Path) -> None:
    half_written = (*folder.glob(".prediction*.part"), *folder.glob(".run.json.*.part"), *folder.glob(".scores.*.part"))
    challenge = (folder / GRAND_CHALLENGE_MASKS).glob(".*.mha.*.part")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for stale in (*half_written, *challenge, *(folder / name for name in SCORES)):
            stale.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _lock(handle: int, folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError("another run is writing into it", fix="wait, or give another folder", path=folder) from None
    except OSError:
        return  # some network file systems know no locks


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        fix=f"give a folder that this user (id {os.getuid()}) may write",
        path=folder,
    )
