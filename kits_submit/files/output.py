"""The folder that a run writes into: held against a second run, proven to be writable before an hour is computed.

The parts of one run (`--shard`) may write into one folder: each holds the folder against whole runs, and its own part.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kits_submit.atomic import remove, remove_unheld
from kits_submit.errors import OutputError
from kits_submit.files.folders import GRAND_CHALLENGE_MASKS
from kits_submit.files.parts import WHOLE, Part

MANIFEST = "run.json"
JOURNAL = "run.jsonl"
PROGRAM = "kits-submit"
SCORES = ("scores.csv", "scores.json")
_OURS = (
    "*.nii.gz",
    "*.mha",
    "*.png",
    "*.zip",
    "run*.json",
    "scores*.json",
    "scores*.csv",
)  # what a run writes, beside first


@contextmanager
def output_folder(folder: Path, summaries: Collection[str] = SCORES, part: Part = WHOLE) -> Iterator[None]:
    """Make the folder, hold it against a second run, and prove that files can be written, before an hour is computed.

    An earlier run's scores go, so that they cannot be read as this one's, and half-written files of a run that was
    killed; its masks stay, and its record, which `kits_submit.batch.ledger` resumes from and replaces. What no run of
    this program wrote is never replaced. The hold is a lock that ends with this process and leaves no file.

    Args:
        summaries: files beside the masks that this run may write.
        part: of a run whose other parts may write here at the same time.

    Raises:
        OutputError: the folder cannot be written, another run is writing into it, or a file of somebody else's stands
            where this run would write.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = _opened(folder, os.O_RDONLY, held)
            _lock(handle, folder, shared=not part.is_whole)
            if not part.is_whole:
                own = _opened(folder / part.named(JOURNAL), os.O_WRONLY | os.O_CREAT, held)
                _lock(own, folder, f"another run of shard {part}")
        except OSError as error:
            raise _unwritable(folder, error) from None
        _refuse_foreign(folder, summaries, part.named(MANIFEST))
        _prepare(folder, part.named(MANIFEST))
        yield


def _opened(path: Path, flags: int, held: ExitStack) -> int:
    handle = os.open(path, flags, 0o666)
    held.callback(os.close, handle)
    return handle


def _refuse_foreign(folder: Path, summaries: Collection[str], manifest: str) -> None:
    ours = _written_before(folder, manifest)
    foreign = [name for name in (*summaries, *([] if ours else [manifest])) if name not in (ours or ())]
    for name in foreign:
        if os.path.lexists(folder / name):
            raise OutputError(
                "it is there, and no run of this program wrote it", fix="move it, or give another folder",
                path=folder / name,
            )  # fmt: skip


def _written_before(folder: Path, manifest: str) -> tuple[str, ...] | None:
    """The files beside the masks that an earlier run wrote; None where there was none."""
    try:
        document = json.loads((folder / manifest).read_bytes())
        if not str(document["program"]).startswith(f"{PROGRAM} "):
            return None
        named = document.get("summaries")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return None
    return (manifest, *(SCORES if named is None else map(str, named)))


def _prepare(folder: Path, manifest: str) -> None:
    ours = _written_before(folder, manifest) or ()
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for inside in (folder, folder / GRAND_CHALLENGE_MASKS):
            for name in _OURS:
                remove_unheld(inside.glob(f".{name}.????????.part"))
        for name in ours:
            if name != manifest:
                remove(folder / name)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _lock(handle: int, folder: Path, who: str = "another run", *, shared: bool = False) -> None:
    import fcntl

    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{who} is writing into it", fix="wait, or give another folder", path=folder) from None
    except OSError:
        return  # some network file systems know no locks


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        fix=f"give a folder that this user (id {os.getuid()}) may write",
        path=folder,
    )
