"""The workers: one for each share of each node, started anew where one has died, as nodes come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kits_submit.batch.cluster.connect import Node, nodes
from kits_submit.batch.cluster.needs import Share, share_of
from kits_submit.batch.cluster.work import Ready, Work
from kits_submit.batch.cluster.worker import Worker
from kits_submit.errors import DeviceError, KitsError
from kits_submit.files.cases import Case

LOOK_SECONDS = 2.0
_MOST_FAILED_STARTS = 3
_PATIENCE_SECONDS = 60.0  # without any worker


@dataclass
class Hand:
    """A worker under way.

    - `waits_for`: Ray's reference of each case it has; `starting`: that of its start, None when it has started.
    - `alone`: it has one case that is suspected to kill workers, and gets no other.
    """

    actor: Any
    node: Node
    starting: Any
    waits_for: dict[Any, Case] = field(default_factory=dict)
    alone: bool = False


class Crew:
    """- `hands`: the workers there are. `on_ready`: told of each when it has its engine; `say`: of nodes left out."""

    def __init__(
        self,
        ray: Any,
        work: Work,
        needed: Mapping[str, tuple[int, int]],
        threads: int | None,
        on_ready: Callable[[Ready], None],
        say: Callable[[str], None],
    ) -> None:
        self._ray, self._work, self._needed, self._threads = ray, ray.put(work), needed, threads
        self._jobs, self._on_ready, self._say = work.jobs, on_ready, say
        self.hands: list[Hand] = []
        self._failed_starts: dict[str, int] = {}
        self._refusal: KitsError | None = None
        self._looked = -LOOK_SECONDS
        self._last_hand = time.monotonic()

    @property
    def capacity(self) -> int:
        """Cases that a worker has at once: one being computed, those read ahead, and one being written."""
        return self._jobs + 2

    def look(self) -> None:
        """Start workers where nodes have room for them.

        Raises:
            KitsError: the head is gone, every node refuses, or none has had room for a while.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        for node in nodes(self._ray).values():
            share = share_of(node, self._threads, self._needed)
            there = sum(hand.node.key == node.key for hand in self.hands)
            if share is not None and self._failed_starts.get(node.key, 0) < _MOST_FAILED_STARTS:
                self.hands += [self._started(node, share) for _ in range(share.count - there)]
        if self.hands:
            self._last_hand = now
        elif self._refusal is not None:
            raise self._refusal
        elif now - self._last_hand > _PATIENCE_SECONDS:
            raise DeviceError("no node of the cluster has room for a worker", fix="see `ray status`")

    def has_node(self, hand: Hand) -> bool:
        """Whether its node is still there, or why else it died is to be asked."""
        deadline = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < deadline:  # the news of a worker's end is faster than that of its node
            if hand.node.key not in nodes(self._ray):
                return False
            time.sleep(0.2)
        return True

    def started(self, hand: Hand) -> None:
        """Its start has ended: well, or its node is left out."""
        answer = self._ray.get(hand.starting)
        hand.starting = None
        if isinstance(answer, KitsError):
            self._refusal = answer
            self._end(hand)
            news = self._failed_starts.get(hand.node.key) != _MOST_FAILED_STARTS
            self._failed_starts[hand.node.key] = _MOST_FAILED_STARTS
            if news and any(other.node.key != hand.node.key for other in self.hands):
                self._say(f"note: node {hand.node.host} is left out: {answer}")
        else:
            self._on_ready(answer)

    def bury(self, hand: Hand) -> None:
        """It has died, or cannot be reached; another one comes at the next look."""
        self._end(hand)
        self._looked = -LOOK_SECONDS
        if hand.starting is not None:
            self._failed_starts[hand.node.key] = self._failed_starts.get(hand.node.key, 0) + 1
            died = DeviceError(f"workers die at their start on node {hand.node.host}", fix="see `ray logs`")
            self._refusal = self._refusal or died

    def _end(self, hand: Hand) -> None:
        self.hands.remove(hand)
        with suppress(Exception):  # where there is nothing to end
            self._ray.kill(hand.actor)

    def _started(self, node: Node, share: Share) -> Hand:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        made = self._ray.remote(Worker).options(
            num_cpus=share.cpus, num_gpus=share.gpus, memory=share.memory, max_concurrency=self.capacity + 1,
            max_restarts=0, max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.key, soft=False),
        ).remote(self._work, share.threads)  # fmt: skip
        return Hand(made, node, made.start.remote())
