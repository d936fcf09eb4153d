"""`--shard I/N`: a run's cases dealt out to N processes that know nothing of each other.

The dealing depends on the cases' names and sizes alone, so every process that sees the same INPUT deals alike: largest
case first, each to the shard that has the fewest bytes (the rule "longest processing time first", whose largest load is
at most 4/3 - 1/(3N) of the best; Graham 1969).
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Mapping, Sequence

from kits_submit.errors import UsageError
from kits_submit.files.cases import Case
from kits_submit.files.parts import WHOLE, Part

COUNT_VARIABLE = "KITS_SHARDS"
_SLURM = "SLURM_ARRAY_TASK_ID"
_KUBERNETES = "JOB_COMPLETION_INDEX"
_FIX = "give I/N with I from 1 to N, or auto in a SLURM array or an Indexed Job"


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """`3/8`, or `auto`: what SLURM's array or Kubernetes' Indexed Job says in the environment.

    SLURM tells how many tasks its array has. `KITS_SHARDS` says N where only some of them are submitted again (their
    indices are of 0 to N - 1 then), and always under Kubernetes, which tells no process its job's completions.

    Raises:
        UsageError: no such shard, or `auto` where neither is.
    """
    if text == "auto":
        return _of_environment(environment)
    index, slash, count = text.partition("/")
    if not slash:
        raise UsageError(f"--shard {text} is no I/N", fix=_FIX)
    return _part(_whole_number(index, "--shard"), _whole_number(count, "--shard"))


def deal(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Names by shard, each in the order of `sizes`; the shards' sums differ by no more than the largest size."""
    loads = [(0, 0, shard) for shard in range(count)]
    of: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        load, cases, shard = heapq.heappop(loads)
        of[name] = shard
        heapq.heappush(loads, (load + sizes[name], cases + 1, shard))
    dealt: list[list[str]] = [[] for _ in range(count)]
    for name in sizes:
        dealt[of[name]].append(name)
    return dealt


def cases_of(part: Part, cases: Sequence[Case]) -> list[Case]:
    """The part's cases, in their order."""
    if part.is_whole:
        return list(cases)
    by_name = {case.case_id: case for case in cases}
    return [by_name[name] for name in deal(sizes(cases), part.count)[part.index - 1]]


def sizes(cases: Sequence[Case]) -> dict[str, int]:
    """Bytes of each case's image; 0 where it cannot be looked at, and of a DICOM series."""
    return {case.case_id: _size(case) for case in cases}


def listing_sha256(cases: Sequence[Case]) -> str:
    """Equal where two processes have dealt out the same cases."""
    text = "\n".join(f"{name} {size}" for name, size in sizes(cases).items())
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _size(case: Case) -> int:
    try:
        return 0 if case.image is None else case.image.stat().st_size
    except OSError:
        return 0


def _of_environment(environment: Mapping[str, str]) -> Part:
    known = environment.get(COUNT_VARIABLE)
    count = None if known is None else _whole_number(known, COUNT_VARIABLE)
    if _SLURM in environment:
        task = _whole_number(environment[_SLURM], _SLURM)
        if count is not None:
            return _part(task + 1, count)
        first = _whole_number(environment.get("SLURM_ARRAY_TASK_MIN", "0"), "SLURM_ARRAY_TASK_MIN")
        step = _whole_number(environment.get("SLURM_ARRAY_TASK_STEP", "1"), "SLURM_ARRAY_TASK_STEP")
        tasks = _whole_number(environment.get("SLURM_ARRAY_TASK_COUNT", ""), "SLURM_ARRAY_TASK_COUNT")
        return _part((task - first) // max(1, step) + 1, tasks)
    if _KUBERNETES in environment:
        if count is None:
            raise UsageError(
                f"{_KUBERNETES} is set and {COUNT_VARIABLE} is not",
                fix=f"set {COUNT_VARIABLE} to the job's completions",
            )
        return _part(_whole_number(environment[_KUBERNETES], _KUBERNETES) + 1, count)
    raise UsageError(f"--shard auto, and neither {_SLURM} nor {_KUBERNETES} is set", fix=_FIX)


def _part(index: int, count: int) -> Part:
    if count < 1 or not 1 <= index <= count:
        raise UsageError(f"there is no shard {index} of {count}", fix=_FIX)
    return WHOLE if count == 1 else Part(index, count)


def _whole_number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name} {text!r} is no whole number", fix=_FIX)
    return int(text)
