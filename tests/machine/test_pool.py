"""Processes that share work: order, failures as they are, and none that outlives the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kits_submit.errors import VolumeError
from kits_submit.machine import pool
from kits_submit.machine.limits import FreeMemory
from tests.conftest import ROOT

PARENT = """
import os, sys, time
from kits_submit.machine.pool import in_processes
from tests.machine.test_pool import slow
if __name__ == "__main__":
    for pid in in_processes(slow, [0.0, 60.0, 60.0], 2):
        print(pid, flush=True)
"""


def slow(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def refuses(number: int) -> int:
    if number == 2:
        raise VolumeError("bad", fix="get it again", path="a.nii")
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_and_a_failure_as_it_is(jobs: int) -> None:
    results = pool.in_processes(refuses, [1, 0, 2, 3], jobs)
    assert [next(results), next(results)] == [1, 0]
    with pytest.raises(VolumeError, match=r"a\.nii: bad; get it again"):
        next(results)


def test_a_killed_parent_takes_its_processes_along(tmp_path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while _alive(child):
        assert time.monotonic() < deadline, "the process lives on"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@given(st.lists(st.integers(1, 10**9), max_size=20), st.integers(0, 10**10))
def test_the_largest_of_as_many_fit(needs: list[int], free: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "free_memory", lambda: FreeMemory(free, free, "test"))
        jobs = pool.jobs_in_memory(needs)
    largest = sorted(needs, reverse=True)
    assert jobs >= 1
    assert jobs == 1 or sum(largest[:jobs]) <= pool.MEMORY_SHARE * free
    assert jobs >= len(needs) or sum(largest[: jobs + 1]) > pool.MEMORY_SHARE * free
