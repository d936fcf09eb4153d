"""What cases need of a node, and how many workers a node carries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kits_submit.batch.budget import bounds
from kits_submit.batch.cluster.connect import Node
from kits_submit.files.cases import Case
from kits_submit.recipe import Recipe

ENGINE_BYTES = 300e6  # a process with its engine and model loaded (docs/container.md: 75 to 137 MB more than Python)
_MOST_THREADS = 4  # of a share: a patch of the shipped model gains little from more
_AT_ONCE = 16


@dataclass(frozen=True)
class Share:
    """What one worker takes of a node. `count`: how many such workers it carries."""

    count: int
    cpus: float
    gpus: float
    memory: int

    @property
    def threads(self) -> int:
        """Of its engine, where that is on the processors."""
        return max(1, int(self.cpus))


def needs(cases: Iterable[Case], recipe: Recipe) -> dict[str, tuple[int, int]]:
    """By case, the least and the most bytes that segmenting it takes; left out where its header cannot be read."""
    listed = list(cases)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda case: bounds(case, recipe), listed)
        return {case.case_id: bound for case, bound in zip(listed, found, strict=True) if bound is not None}


def share_of(node: Node, threads: int | None, needed: Mapping[str, tuple[int, int]]) -> Share | None:
    """What a worker takes there: a GPU, or `threads` cores; None where there is no core for one.

    A worker is given the memory that the largest case may take that the node can hold at all.
    """
    cores = node.cpus if threads is None else float(min(threads, node.cpus))
    fitting = [most for _, most in needed.values() if most + ENGINE_BYTES <= node.memory]
    memory = min(node.memory, max(fitting, default=0) + ENGINE_BYTES)
    by_memory = max(1, int(node.memory // memory)) if memory else 1
    if node.gpus >= 1:
        count = min(int(node.gpus), by_memory)
        return Share(count, min(cores, node.cpus // node.gpus), 1.0, int(memory))
    if node.cpus < 1:
        return None
    cores = min(cores, _MOST_THREADS) if threads is None else cores
    return Share(max(1, min(int(node.cpus // cores), by_memory)), cores, 0.0, int(memory))
