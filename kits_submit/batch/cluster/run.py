"""The cases of a run, handed out over a cluster until each has its result."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from kits_submit.batch.cluster.crew import Crew, Hand
from kits_submit.batch.outcome import CaseResult
from kits_submit.batch.proof import State
from kits_submit.errors import DeviceError
from kits_submit.files.cases import Case

_WAIT_SECONDS = 0.5
Tell = Callable[[CaseResult, dict[str, str]], None]


class Handout:
    """Gives each worker as many cases as it can use and no more, so that what is left goes to whoever is free.

    The cases that a worker had when it died are suspects: each is given once more, alone to a worker, and fails if that
    dies, too. Where the node itself is gone, no case is suspected.

    Args:
        cases: in the order in which they are handed out.
        states: of their images, as `batch.proof` has them.
        tell: of each result and its proof, as it comes.
    """

    def __init__(
        self, ray: Any, crew: Crew, cases: Iterable[Case], states: Callable[[Case], State | None], tell: Tell
    ) -> None:
        self._ray, self._crew, self._states, self._tell = ray, crew, states, tell
        self._waiting = deque(cases)
        self._suspects: deque[Case] = deque()

    def run(self) -> None:
        """Until every case is told.

        Raises:
            KitsError: no node can take part any more.
        """
        while self._waiting or self._suspects or any(hand.waits_for for hand in self._crew.hands):
            self._crew.look()
            for hand in self._crew.hands:
                self._give(hand)
            self._take()

    def _give(self, hand: Hand) -> None:
        if hand.starting is not None or hand.alone:
            return
        if self._suspects and not hand.waits_for:
            hand.alone = True
            self._hand_over(self._suspects.popleft(), hand)
            return
        while self._waiting and len(hand.waits_for) < self._crew.capacity:
            self._hand_over(self._waiting.popleft(), hand)

    def _hand_over(self, case: Case, hand: Hand) -> None:
        hand.waits_for[hand.actor.segment.remote(case, self._states(case))] = case

    def _take(self) -> None:
        by_reference: dict[Any, Hand] = {}
        for hand in self._crew.hands:
            by_reference |= dict.fromkeys(hand.waits_for, hand)
            if hand.starting is not None:
                by_reference[hand.starting] = hand
        if not by_reference:
            return
        listed = list(by_reference)
        ready, _ = self._ray.wait(listed, num_returns=1, timeout=_WAIT_SECONDS)
        more, _ = self._ray.wait(listed, num_returns=len(listed), timeout=0) if ready else ([], None)
        for reference in more:
            hand = by_reference[reference]
            if hand in self._crew.hands:
                self._answered(hand, reference)

    def _answered(self, hand: Hand, reference: Any) -> None:
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, WorkerCrashedError

        try:
            if reference == hand.starting:
                self._crew.started(hand)
                return
            result, proof = self._ray.get(reference)
        except (RayActorError, NodeDiedError, OutOfMemoryError, WorkerCrashedError):
            self._died(hand)
        except RayError as error:
            if reference == hand.starting:
                self._died(hand)
            else:
                self._fail(hand.waits_for.pop(reference), f"a worker failed ({type(error).__name__})")
        else:
            del hand.waits_for[reference]
            hand.alone = False
            self._tell(result, proof)

    def _died(self, hand: Hand) -> None:
        self._crew.bury(hand)
        if not hand.waits_for:
            return
        answered, _ = self._ray.wait(list(hand.waits_for), num_returns=len(hand.waits_for), timeout=0)
        lost = [case for reference, case in hand.waits_for.items() if not self._told_before_death(reference, answered)]
        if not lost:
            return
        if not self._crew.has_node(hand):
            self._waiting.extendleft(reversed(lost))
        elif hand.alone:
            self._fail(lost[0], f"two workers died of it, the last one alone with it on node {hand.node.host}")
        else:
            self._suspects.extend(lost)

    def _told_before_death(self, reference: Any, answered: list[Any]) -> bool:
        from ray.exceptions import RayError

        if reference not in answered:
            return False
        try:
            self._tell(*self._ray.get(reference))
        except RayError:
            return False
        return True

    def _fail(self, case: Case, what: str) -> None:
        error = DeviceError(what, fix="give the nodes more memory, or run it alone with --debug", path=case.image)
        self._tell(CaseResult(case.case_id, "failed", str(error), error.exit_code), {})
