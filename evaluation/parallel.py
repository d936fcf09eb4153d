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
from evaluation.masks.matching import Pair
from evaluation.report import Issue, Row
from kits_submit.errors import DeviceError, KitsError
from kits_submit.files.volume import read_grid
from kits_submit.machine.pool import in_processes, jobs_in_memory
from kits_submit.mounts import Mount, add, all_mounts

_CASES_A_CORE = 3  # handed out at once: a slow case holds up the telling of those behind it, not their scoring
PROCESS_BYTES = 300 << 20  # a worker with its libraries and working memory, beside its two label arrays


def map_cases(settings: Settings, pairs: Sequence[Pair], jobs: int) -> Iterator[Row]:
    """Each pair's row, in order. A worker that dies (out of memory) hands its cases on to this process."""
    if jobs > 1 and len(pairs) > 1:
        jobs = min(jobs, jobs_in_memory([2 * _largest(pairs) + PROCESS_BYTES] * len(pairs)))
    return in_processes(partial(score_case, settings), pairs, jobs)


def map_on_cluster(settings: Settings, pairs: Sequence[Pair], address: str) -> Iterator[Row]:
    """As `map_cases`, a core a case on the nodes of a cluster, which all see the files.

    A case whose worker dies is begun once more elsewhere, and then fails alone.

    Raises:
        UsageError: no address.
        DeviceError: no Ray is there.
    """
    from kits_submit.batch.cluster.apart import called
    from kits_submit.batch.cluster.connect import connected, nodes

    with connected(address) as ray:
        task = ray.remote(called)
        ahead = _CASES_A_CORE * max(1, int(sum(node.cpus for node in nodes(ray).values())))
        asked: deque[tuple[str, Any]] = deque()
        left = iter(pairs)
        while True:
            for pair in islice(left, ahead - len(asked)):
                needed = 2 * _largest([pair]) + PROCESS_BYTES
                placed = task.options(num_cpus=1, memory=needed, max_retries=1, scheduling_strategy="SPREAD")
                asked.append((pair[0], placed.remote(_call(settings, pair))))
            if not asked:
                return
            yield _row_of(ray, *asked.popleft())


def _call(settings: Settings, pair: Pair) -> bytes:
    from kits_submit.batch.cluster.apart import packed

    case, *sides = pair
    prediction, truth = (side.absolute() if isinstance(side, Path) else side for side in sides)
    files = [side for side in (prediction, truth) if isinstance(side, Path)]
    mounts = [mount.only(files) for mount in all_mounts()]
    return packed(_score_there, settings, mounts, (case, prediction, truth))


def _row_of(ray: Any, case: str, reference: Any) -> Row:
    from ray.exceptions import RayError

    try:
        row: Row = pickle.loads(ray.get(reference))  # noqa: S301 - of our own run
    except RayError as error:
        failed = DeviceError(f"its worker died ({type(error).__name__})", fix="give the nodes more memory")
        return Row(case, error=Issue(case, "DeviceError", f"{case}: {failed}", failed.exit_code))
    return row


def _score_there(settings: Settings, mounts: Sequence[Mount], pair: Pair) -> Row:
    for mount in mounts:
        add(mount)
    return score_case(settings, pair)


def _largest(pairs: Sequence[Pair]) -> int:
    return max((_voxels(truth) for _, _, truth in pairs if isinstance(truth, Path)), default=0)


def _voxels(path: Path) -> int:
    try:
        z, y, x = read_grid(path).stored_shape[:3]
    except KitsError:
        return 0
    return z * y * x
