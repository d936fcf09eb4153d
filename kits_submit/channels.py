"""Threads beside the network: a bounded channel, a source that reads ahead, a worker that takes what is handed on.

Threads alone, for gzip, BLAS and the engines let go of the interpreter's lock: nothing is forked once a session exists,
and no array travels through shared memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Closed(Exception):  # noqa: N818 -- a signal between two threads, not a failure
    """The other end of a channel has gone."""


class Channel(Generic[T]):
    """At most `capacity` items between two threads."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._ended = self._closed = False

    def put(self, item: T) -> None:
        """Wait for room. Raises: Closed: nobody takes items any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def end(self) -> None:
        """No item follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what is in it, and let both ends go."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Items until the end. Raises: Closed: it was closed before its end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._ended or bool(self._items))
                if self._closed:
                    raise Closed
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class Ahead(Generic[T]):
    """Runs an iterable in a thread of its own, at most `capacity` items ahead; its failure is raised to the taker."""

    def __init__(self, source: Iterable[T], capacity: int) -> None:
        self._channel: Channel[T] = Channel(capacity)
        self._error: Exception | None = None
        self._source = source
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._source:
                self._channel.put(item)
        except Closed:
            return
        except Exception as error:
            self._error = error
        finally:
            self._channel.end()

    def __iter__(self) -> Iterator[T]:
        yield from self._channel
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread, whatever it is at."""
        self._channel.close()
        self._thread.join()


class Worker(Generic[T, R]):
    """Calls `work` in a thread of its own with an iterator over what is handed to `put`.

    - `result`: what `work` returned; `error`: what it failed with; None before that.
    """

    def __init__(self, work: Callable[[Iterator[T]], R], capacity: int) -> None:
        self._channel: Channel[T] = Channel(capacity)
        self._work = work
        self.result: R | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._work(iter(self._channel))
        except Closed:
            return
        except Exception as error:
            self.error = error
            self._channel.close()

    def put(self, item: T) -> None:
        """Hand on. Raises: what `work` failed with."""
        try:
            self._channel.put(item)
        except Closed:
            raise self.error or Closed from None

    def end(self) -> None:
        """Nothing follows; `work` goes on until it is done."""
        self._channel.end()

    @property
    def done(self) -> bool:
        """Whether `work` has returned."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until it has."""
        self._thread.join()

    def close(self) -> None:
        """Drop what was handed on, and wait until the thread has ended."""
        self._channel.close()
        self._thread.join()
