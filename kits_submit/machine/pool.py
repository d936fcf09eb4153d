"""Work shared out over processes that start clean, end with the one that started them, and hand on what they lose."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

from kits_submit.machine.limits import free_memory
from kits_submit.mounts import Mount, add, all_mounts

MEMORY_SHARE = 0.8  # of what is free

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_processes(work: Callable[[_Item], _Result], items: Sequence[_Item], jobs: int) -> Iterator[_Result]:
    """`work` of each item, in order, as each is done; in this process where `jobs` is 1.

    A process that dies (out of memory) hands what is left on to this one, which takes one item at a time.

    Args:
        work: a function that a fresh process can import, or a `functools.partial` of one.
    """
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    done = 0
    jobs = min(jobs, len(items))
    if jobs > 1:
        try:
            with ProcessPoolExecutor(
                jobs, mp_context=get_context("spawn"), initializer=_follow_parent, initargs=(all_mounts(),)
            ) as pool:
                try:
                    for result in pool.map(work, items):
                        yield result
                        done += 1
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
        except BrokenProcessPool:
            pass
    for item in items[done:]:
        yield work(item)


def jobs_in_memory(needs_bytes: Sequence[int]) -> int:
    """How many of the items may be in work at once, were the largest ones so: at least one."""
    free = free_memory()
    if free is None:
        return max(1, len(needs_bytes))
    room, jobs = MEMORY_SHARE * free.free_bytes, 0
    for need in sorted(needs_bytes, reverse=True):
        room -= need
        if room < 0:
            break
        jobs += 1
    return max(1, jobs)


def _follow_parent(mounts: Sequence[Mount]) -> None:
    """Ctrl-C reaches every process of a terminal; only the first answers it. Where that one is killed, so is this."""
    for mount in mounts:
        add(mount)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
