"""A folder of a bucket held against a second run: an object that is there while a run writes, and is kept fresh.

A bucket knows no locks that end with a process. Whoever finds the object as old as `STALE_SECONDS`, by the bucket's own
clock, takes it over: its run was killed.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kits_submit.errors import KitsError, OutputError
from kits_submit.files.parts import Part

if TYPE_CHECKING:
    from kits_submit.files.remote.mount import BucketMount

HOLD = "run.hold"
FRESH_SECONDS = 30.0
STALE_SECONDS = 120.0


@contextmanager
def hold(mount: BucketMount, part: Part) -> Iterator[None]:
    """Hold the folder, or of a part of a run its part, while the block runs.

    Raises:
        OutputError: another run holds it, or it cannot be written.
    """
    prefix = f"{mount.url.key}/" if mount.url.key else ""
    key = f"{prefix}{part.named(HOLD)}"
    store, mine = mount.store, uuid.uuid4().hex.encode()
    if not store.put(key, mine, new=True):
        if not _is_stale(mount, key, prefix):
            raise _held(mount)
        store.put(key, mine)
    done = threading.Event()

    def keep_fresh() -> None:
        while not done.wait(FRESH_SECONDS):
            with suppress(KitsError):
                store.put(key, mine)

    thread = threading.Thread(target=keep_fresh, daemon=True)
    try:
        _refuse_others(mount, key, prefix, part)
        thread.start()
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()
        with suppress(KitsError):
            store.remove([key])


def _refuse_others(mount: BucketMount, own: str, prefix: str, part: Part) -> None:
    """A whole run and a part do not write at once."""
    stem = HOLD.partition(".")[0]
    for found in mount.store.below(mount.url.key):
        name = found.key.removeprefix(prefix)
        is_hold = name.startswith(f"{stem}.") and name.endswith(".hold") and found.key != own
        if is_hold and (part.is_whole or name == HOLD) and not _is_stale(mount, found.key, prefix):
            raise _held(mount)


def _is_stale(mount: BucketMount, key: str, prefix: str) -> bool:
    probe = f"{prefix}run.{uuid.uuid4().hex}.probe"
    mount.store.put(probe, b"")
    now, there = mount.store.head(probe), mount.store.head(key)
    mount.store.remove([probe])
    return now is None or there is None or now.modified - there.modified > STALE_SECONDS


def _held(mount: BucketMount) -> OutputError:
    return OutputError("another run is writing into it", fix="wait, or give another folder", path=mount.root)
