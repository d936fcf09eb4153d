"""An object as a file to read: block by block, the next one on its way while one is read; nothing on disk."""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from kits_submit.files.remote.store import Store

BLOCK_BYTES = 8 << 20  # of one request: what is small is all latency, and two are held
FIRST_BYTES = 1 << 16  # of the first: many a file is opened for its header alone
_BUFFER_BYTES = 1 << 16


class _Blocks(io.RawIOBase):
    """Raises VolumeError from any read once the object is another than the one that was opened."""

    def __init__(self, store: Store, key: str, size: int, tag: str | None) -> None:
        self._store, self._key, self._size, self._tag = store, key, size, tag
        self._position = 0
        self._block, self._start = memoryview(b""), 0
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[memoryview]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position >= self._size:
            return 0
        if not self._start <= self._position < self._start + len(self._block):
            self._block, self._start = self._fetched(self._position), self._position
        inside = self._position - self._start
        part = self._block[inside : inside + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _fetched(self, start: int) -> memoryview:
        coming, self._next = self._next, None
        block = coming[1].result() if coming is not None and coming[0] == start else self._read(start)
        follow = start + len(block)
        if start and follow < self._size:  # somebody reads on
            self._pool = self._pool or ThreadPoolExecutor(1, "kits-remote")
            self._next = follow, self._pool.submit(self._read, follow)
        return block

    def _read(self, start: int) -> memoryview:
        stop = min(self._size, start + (BLOCK_BYTES if start else FIRST_BYTES))
        return self._store.read(self._key, start, stop, self._tag)


def open_object(store: Store, key: str, size: int, tag: str | None) -> IO[bytes]:
    """An object of a known size, to read and to seek in."""
    return io.BufferedReader(_Blocks(store, key, size, tag), _BUFFER_BYTES)
