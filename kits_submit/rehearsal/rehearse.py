"""Run a cage, watch it, and judge what it took against the budget. Prints nothing but what the run itself says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kits_submit.batch.journal import entries
from kits_submit.rehearsal.cage import Cage
from kits_submit.rehearsal.sampling import Sample, Sampler, Usage, usage
from kits_submit.rehearsal.terms import Budget

KILLED = (137, -9)


@dataclass(frozen=True)
class Rehearsal:
    """What a run took and how it ended.

    - `cases`: (case, status, usage), as far as the run came.
    - `exit_code`: the run's own, 137 where it was killed; `last_line`: what a judge would show of a failure.
    - `stopped`: why this watch killed it, empty where it did not.
    - `misfits`: each way in which it does not fit the budget, in words.
    """

    whole: Usage
    cases: list[tuple[str, str, Usage]]
    exit_code: int
    last_line: str
    stopped: str
    misfits: list[str]
    sees_gpu: bool


def rehearse(cage: Cage, budget: Budget, output: Path, echo: Callable[[str], None]) -> Rehearsal:
    """Start the cage's command and wait for its end, or end it where the budget is exceeded.

    Args:
        output: where the command leaves its masks and `run.json`.
        echo: told each line that the run writes on stderr.
    """
    watch = _Watch(cage, budget)
    sampler = Sampler(cage.root_pid, watch)
    try:
        with cage.start() as process:
            started = time.time()
            watch.deadline = started + budget.seconds
            sampler.start()
            lines = _Lines(process.stderr, echo)
            code = process.wait()
            ended = time.time()
            last_line = lines.last()
    finally:
        sampler.stop()
        cage.close()
    whole = usage(sampler.samples, started, ended)
    cases = [(case, status, usage(sampler.samples, *span)) for case, status, span in _spans(output)]
    killed = code in KILLED
    return Rehearsal(
        whole,
        cases,
        137 if killed else code,
        last_line,
        watch.reason,
        misfits(whole, cases, budget, watch.reason, killed=killed),
        sampler.sees_gpu,
    )


class _Watch:
    """Kills the run that exceeds its time or, where nothing else holds it, its memory."""

    def __init__(self, cage: Cage, budget: Budget) -> None:
        self._cage = cage
        self._budget = budget
        self.deadline = float("inf")
        self.reason = ""

    def __call__(self, sample: Sample) -> None:
        if self.reason:
            return
        if sample.resident > self._budget.memory_bytes:
            self.reason = f"it took more than {self._budget.memory_bytes / 1e9:.2f} GB of memory, and was killed"
        elif sample.at > self.deadline:
            self.reason = f"it took longer than {self._budget.seconds:g} s, and was killed"
        if self.reason:
            self._cage.kill()


class _Lines:
    """Reads a stream to its end in a thread, so that the run never waits for its reader."""

    def __init__(self, stream: IO[str] | None, echo: Callable[[str], None]) -> None:
        self._last = ""
        self._stream = stream
        self._echo = echo
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def last(self) -> str:
        self._thread.join(timeout=10)
        return self._last

    def _read(self) -> None:
        for line in self._stream or ():
            if line.strip():
                self._last = line.strip()
                self._echo(self._last)


def _spans(output: Path) -> list[tuple[str, str, tuple[float, float]]]:
    """(case, status, start and end) of the cases that were recorded, in the order in which they ran."""
    found = [entry for entry in entries(output).values() if {"status", "started", "ended"} <= entry.keys()]
    spans = [(entry["case"], entry["status"], (entry["started"], entry["ended"])) for entry in found]
    return sorted(spans, key=lambda span: span[2])


def misfits(
    whole: Usage, cases: list[tuple[str, str, Usage]], budget: Budget, stopped: str, *, killed: bool
) -> list[str]:
    """Each way in which a run exceeded the budget, in words."""
    found = [stopped] if stopped else []
    if killed and not stopped:
        found.append(f"it was killed, as by the memory limit of {budget.memory_bytes / 1e9:.2f} GB (exit code 137)")
    if whole.seconds > budget.seconds and not stopped:
        found.append(f"it took {whole.seconds:.1f} s of {budget.seconds:g} s")
    if whole.threads > budget.processes:
        found.append(f"it had {whole.threads} processes and threads, allowed {budget.processes}")
    slowest = max(cases, key=lambda case: case[2].seconds, default=None)
    if budget.case_seconds is not None and slowest is not None and slowest[2].seconds > budget.case_seconds:
        found.append(f"{slowest[0]} took {slowest[2].seconds:.1f} s of {budget.case_seconds:g} s a case")
    return found
