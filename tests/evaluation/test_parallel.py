from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from evaluation import parallel
from evaluation.case import Settings
from evaluation.masks.matching import match
from evaluation.parallel import map_cases
from kits_submit.machine import pool
from kits_submit.machine.limits import FreeMemory
from tests.evaluation.conftest import kidney_with_tumor

LABELS = kidney_with_tumor()
SETTINGS = Settings("kits19")


class DyingPool:
    """Hands out one row, then its worker is killed."""

    opened = 0

    def __init__(self, jobs: int, **_: object) -> None:
        DyingPool.opened = jobs

    def __enter__(self) -> DyingPool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def shutdown(self, **_: object) -> None:
        pass

    def map(self, work: Callable[..., Any], *columns: Any) -> Iterator[Any]:
        yield work(*(column[0] for column in columns))
        raise BrokenProcessPool("a worker was killed")


@pytest.fixture
def pairs(folders: Callable[..., tuple[Path, Path]]) -> list[Any]:
    return match(*folders(dict.fromkeys(range(3), LABELS), dict.fromkeys(range(3), LABELS)))


def test_the_cases_of_a_killed_worker_are_scored_here(pairs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", DyingPool)
    rows = list(map_cases(SETTINGS, pairs, 2))
    assert [row.case for row in rows] == ["case_00000", "case_00001", "case_00002"]
    assert all(row.scores["composite"] == 1.0 for row in rows)


@pytest.mark.parametrize(("free", "jobs"), [(1e12, 3), (2 * (parallel.PROCESS_BYTES + 2 * LABELS.size) / 0.79, 2)])
def test_as_many_processes_as_fit_into_memory(
    pairs: list[Any], monkeypatch: pytest.MonkeyPatch, free: float, jobs: int
) -> None:
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", DyingPool)
    monkeypatch.setattr(pool, "free_memory", lambda: FreeMemory(int(free), int(free), "test"))
    assert len(list(map_cases(SETTINGS, pairs, 8))) == 3
    assert DyingPool.opened == jobs


def test_no_process_where_memory_is_short(pairs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        concurrent.futures, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("a process was started")
    )
    monkeypatch.setattr(pool, "free_memory", lambda: FreeMemory(1, 1, "test"))
    assert len(list(map_cases(SETTINGS, pairs, 8))) == 3
