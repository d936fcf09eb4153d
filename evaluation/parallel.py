"""Score cases one after another, several at a time in processes, as many as memory allows, or on a Ray cluster."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation.case import Settings, score_case
from evaluation.masks.matching import Pair, Side
from evaluation.report import Issue, Row
from kits_submit.errors import DeviceError, KitsError
from kits_submit.files.volume import read_grid
from kits_submit.machine.pool import in_processes, jobs_in_memory
from kits_submit.mounts import Mount, add, all_mounts

_AHEAD_A_CORE = 3  # bunches handed out at once: a slow one holds up the telling of those behind it, not their scoring
_BUNCHES_A_CORE, _MOST_TOGETHER = 8, 16  # a task of Ray costs some hundredths of a second, a tiny pair less
PROCESS_BYTES = 300 << 20  # a worker with its libraries and working memory, beside its two label arrays


def map_cases(settings: Settings, pairs: Sequence[Pair], jobs: int) -> Iterator[Row]:
    """Each pair's row, in order. A worker that dies (out of memory) hands its cases on to this process."""
    if jobs > 1 and len(pairs) > 1:
        jobs = min(jobs, jobs_in_memory([2 * _largest(pairs) + PROCESS_BYTES] * len(pairs)))
    return in_processes(partial(score_case, settings), pairs, jobs)


def map_on_cluster(settings: Settings, pairs: Sequence[Pair], address: str) -> Iterator[Row]:
    """As `map_cases`, a core a few cases on the nodes of a cluster, which all see the files.

    Cases whose worker dies are begun once more elsewhere, then one by one, and then fail alone.

    Raises:
        UsageError: no address.
        DeviceError: no Ray is there.
    """
    from kits_submit.batch.cluster.connect import connected, nodes

    with connected(address) as ray:
        cores = max(1, int(sum(node.cpus for node in nodes(ray).values())))
        together = min(_MOST_TOGETHER, max(1, len(pairs) // (_BUNCHES_A_CORE * cores)))
        left = (pairs[start : start + together] for start in range(0, len(pairs), together))
        asked: deque[tuple[Sequence[Pair], Any]] = deque()
        while True:
            for bunch in islice(left, _AHEAD_A_CORE * cores - len(asked)):
                asked.append((bunch, _asked(ray, settings, bunch)))
            if not asked:
                return
            yield from _rows_of(ray, settings, *asked.popleft())


def _asked(ray: Any, settings: Settings, bunch: Sequence[Pair]) -> Any:
    from kits_submit.batch.cluster.apart import called

    needed = 2 * _largest(bunch) + PROCESS_BYTES
    task = ray.remote(called).options(num_cpus=1, memory=needed, max_retries=1, scheduling_strategy="SPREAD")
    return task.remote(_call(settings, bunch))


def _rows_of(ray: Any, settings: Settings, bunch: Sequence[Pair], reference: Any) -> Iterator[Row]:
    from ray.exceptions import RayError

    try:
        rows: list[Row] = pickle.loads(ray.get(reference))  # noqa: S301 - of our own run
    except RayError as error:
        if len(bunch) > 1:
            for pair in bunch:
                yield from _rows_of(ray, settings, [pair], _asked(ray, settings, [pair]))
            return
        case, failed = bunch[0][0], DeviceError(f"its worker died ({type(error).__name__})", fix="give it more memory")
        rows = [Row(case, error=Issue(case, "DeviceError", f"{case}: {failed}", failed.exit_code))]
    yield from rows


def _call(settings: Settings, bunch: Sequence[Pair]) -> bytes:
    from kits_submit.batch.cluster.apart import packed

    absolute = [(case, _absolute(prediction), _absolute(truth)) for case, prediction, truth in bunch]
    files = [side for _, *sides in absolute for side in sides if isinstance(side, Path)]
    return packed(_score_there, settings, [mount.only(files) for mount in all_mounts()], absolute)


def _absolute(side: Side) -> Side:
    return side.absolute() if isinstance(side, Path) else side


def _score_there(settings: Settings, mounts: Sequence[Mount], bunch: Sequence[Pair]) -> list[Row]:
    for mount in mounts:
        add(mount)
    return [score_case(settings, pair) for pair in bunch]


def _largest(pairs: Sequence[Pair]) -> int:
    return max((_voxels(truth) for _, _, truth in pairs if isinstance(truth, Path)), default=0)


def _voxels(path: Path) -> int:
    try:
        z, y, x = read_grid(path).stored_shape[:3]
    except KitsError:
        return 0
    return z * y * x
