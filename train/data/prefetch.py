"""Patches read ahead, by threads, of the step that needs them; a batch is a function of its step, whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

_Batch = TypeVar("_Batch")


class Prefetcher(Generic[_Batch]):
    """`get(step)` hands out `make(step)`, which threads have begun `ahead` steps before; without any, makes it then."""

    def __init__(self, make: Callable[[int], _Batch], *, threads: int, last: int) -> None:
        self._make = make
        self._ahead = 2 * threads
        self._last = last
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="patches") if threads else None
        self._waiting: dict[int, Future[_Batch]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def get(self, step: int) -> _Batch:
        """The batch of `step`; what making it raised is raised here."""
        if self._pool is None:
            return self._make(step)
        for ahead in range(step, min(step + self._ahead, self._last - 1) + 1):
            if ahead not in self._waiting:
                self._waiting[ahead] = self._pool.submit(self._make, ahead)
        return self._waiting.pop(step).result()
