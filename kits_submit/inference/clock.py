"""Seconds by stage of one case, however many threads its stages run in."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Stages overlap, so that their sum may exceed the case's time; each stage belongs to one thread."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """By stage, so far."""
        return dict(self._seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's time to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def timed(self, items: Iterable[T], name: str, without: str | None = None) -> Iterator[T]:
        """The same items; the time to make each is added to a stage, less what meanwhile went to another."""
        self._seconds.setdefault(name, 0.0)
        source = iter(items)
        while True:
            inner = self._seconds.get(without, 0.0) if without else 0.0
            started = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                spent = time.perf_counter() - started
                self._seconds[name] += spent - ((self._seconds.get(without, 0.0) - inner) if without else 0.0)
            yield item
