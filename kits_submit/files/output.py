"""The folder that a run writes into: held against a second run, proven to be writable before an hour is computed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from kits_submit.errors import OutputError
from kits_submit.files.cases import GRAND_CHALLENGE_MASKS

MANIFEST = "run.json"
PROGRAM = "kits-submit"
SCORES = ("scores.csv", "scores.json")
_OURS = ("*.nii.gz", "*.mha", "*.png", "*.zip", MANIFEST, *SCORES)  # what a run writes, beside first


@contextmanager
def output_folder(folder: Path, summaries: Collection[str] = SCORES) -> Iterator[None]:
    """Make the folder, hold it against a second run, and prove that files can be written, before an hour is computed.

    An earlier run's scores go, so that they cannot be read as this one's, and half-written files of a run that was
    killed; its masks stay, and its record, which `kits_submit.batch.ledger` resumes from and replaces. What no run of
    this program wrote is never replaced. The hold is a lock that ends with this process and leaves no file.

    Args:
        summaries: files beside the masks that this run may write.

    Raises:
        OutputError: the folder cannot be written, another run is writing into it, or a file of somebody else's stands
            where this run would write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        _lock(handle, folder)
        _refuse_foreign(folder, summaries)
        _prepare(folder)
        yield
    finally:
        os.close(handle)


def _refuse_foreign(folder: Path, summaries: Collection[str]) -> None:
    ours = _written_before(folder)
    foreign = [name for name in (*summaries, *([] if ours else [MANIFEST])) if name not in (ours or ())]
    for name in foreign:
        if os.path.lexists(folder / name):
            raise OutputError(
                "it is there, and no run of this program wrote it", fix="move it, or give another folder",
                path=folder / name,
            )  # fmt: skip


def _written_before(folder: Path) -> tuple[str, ...] | None:
    """The files beside the masks that an earlier run wrote; None where there was none."""
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
        if not str(document["program"]).startswith(f"{PROGRAM} "):
            return None
        named = document.get("summaries")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return None
    return (MANIFEST, *(SCORES if named is None else map(str, named)))


def _prepare(folder: Path) -> None:
    ours = _written_before(folder) or ()
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for inside in (folder, folder / GRAND_CHALLENGE_MASKS):
            for stale in (path for name in _OURS for path in inside.glob(f".{name}.????????.part")):
                stale.unlink(missing_ok=True)
        for name in ours:
            if name != MANIFEST:
                (folder / name).unlink(missing_ok=True)
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
