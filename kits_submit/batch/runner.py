"""Many cases through one network: readers ahead of it, finishers behind it, and who is told.

Each case goes the way of `kits_submit.inference.pipeline`; one that fails, for whatever reason, is told, and the others
go on.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from threadpoolctl import threadpool_limits

from kits_submit.batch.job import Job
from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.batch.watchers import Watchers
from kits_submit.engine.model import Model
from kits_submit.engine.select import Selection
from kits_submit.errors import DeviceError
from kits_submit.files.cases import Case
from kits_submit.files.dicom.codes import Maker
from kits_submit.inference.answers import NotFinite
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.pipeline import Head, answered, network_of
from kits_submit.machine.memory import reset_peak

Amend = Callable[[CaseResult], CaseResult]


class Feed(Protocol):
    """Where a batch takes its cases from, one after another."""

    def take(self, *, wait: bool) -> Case | None:
        """The next case; None where there is none yet, or with `wait`, where there will be none any more."""


class Listed:
    """Cases that are all known."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._left = iter(cases)

    def take(self, *, wait: bool) -> Case | None:  # noqa: ARG002 - there is nothing to wait for
        return next(self._left, None)


def run_cases(
    cases: Sequence[Case],
    output: Path,
    model: Model,
    selection: Selection,
    watcher: Watcher | None = None,
    *,
    plan: PatchPlan | None = None,
    jobs: int = 1,
    amend: Amend | None = None,
    hu_offset: float = 0.0,
    also: Collection[str] = (),
) -> list[CaseResult]:
    """Each case's result.

    Reading (up to `jobs` cases ahead), computing, and restoring, refining and writing (up to `jobs` cases behind)
    overlap. The watcher is told on this thread, `case_ended` once a case, when its mask stands under its final name.
    A case whose device fails, or answers NaN, is begun again one rung lower where the selection has one.

    Args:
        plan: another patch plan than the Recipe's.
        amend: what becomes of a result before anybody is told.
        hu_offset: added to each value of an image that is not stored in HU.
        also: as `kits_submit.files.masks.write_mask`.
    """
    told = Watchers(watcher or Watcher(), by_case := _Collected())
    run_feed(
        Listed(cases), output, model, selection, told,
        plan=plan, jobs=jobs, amend=amend, hu_offset=hu_offset, also=also,
    )  # fmt: skip
    return [by_case.results[case.case_id] for case in cases]


def run_feed(
    feed: Feed,
    output: Path,
    model: Model,
    selection: Selection,
    watcher: Watcher,
    *,
    plan: PatchPlan | None = None,
    jobs: int = 1,
    amend: Amend | None = None,
    hu_offset: float = 0.0,
    also: Collection[str] = (),
) -> None:
    """As `run_cases`, of cases that become known while it runs; nothing is kept of a case that has been told."""
    used = plan or PatchPlan.of(model.recipe)
    with _Batch(output, model, selection, watcher, used, jobs, amend, hu_offset, also) as batch:
        batch.run(feed)


class _Collected(Watcher):
    def __init__(self) -> None:
        self.results: dict[str, CaseResult] = {}

    def case_ended(self, result: CaseResult) -> None:
        self.results[result.case] = result


class _Batch:
    """A batch under way: readers ahead, the network here, finishers behind."""

    def __init__(
        self,
        output: Path,
        model: Model,
        selection: Selection,
        watcher: Watcher,
        plan: PatchPlan,
        jobs: int,
        amend: Amend | None,
        hu_offset: float,
        also: Collection[str],
    ) -> None:
        self._output, self._model, self._selection, self._watcher = output, model, selection, watcher
        self._plan, self._jobs, self._amend, self._hu_offset, self._also = plan, jobs, amend, hu_offset, also
        self._noted: dict[str, set[str]] = {}
        self._ahead: deque[Job] = deque()
        self._under_way: list[Job] = []
        self._finishing: list[Job] = []

    def __enter__(self) -> Self:
        self._blas = threadpool_limits(1, user_api="blas")  # its threads would take the network's processors
        return self

    def __exit__(self, *_: object) -> None:
        self._blas.restore_original_limits()
        for job in self._under_way:
            job.close()

    def run(self, feed: Feed) -> None:
        while (job := self._next(feed)) is not None:
            self._watcher.case_started(job.case.case_id)
            job.begin()
            reset_peak()
            try:
                self._compute_on_some_rung(job)
            except Exception as error:
                self._end(job, error)
            self._collect(most=self._jobs)
        self._collect(most=0)

    def _next(self, feed: Feed) -> Job | None:
        """The case whose turn it is, it and up to `jobs` behind it being read; None at the end."""
        self._read_ahead(feed, wait=False)
        if not self._ahead:
            self._collect(most=0)  # while nothing comes, what is done is told
            self._read_ahead(feed, wait=True)
        return self._ahead.popleft() if self._ahead else None

    def _read_ahead(self, feed: Feed, *, wait: bool) -> None:
        while len(self._ahead) <= self._jobs and (case := feed.take(wait=wait)) is not None:
            recipe = self._model.recipe
            job = Job(case, recipe, self._hu_offset, Maker(recipe.labels, self._model.sha256), self._also)
            job.read_ahead()
            self._ahead.append(job)
            self._under_way.append(job)
            wait = False

    def _compute_on_some_rung(self, job: Job) -> None:
        while True:
            try:
                return self._compute(job)
            except (DeviceError, NotFinite) as error:
                job.close()
                if not self._selection.step_down(error.what):
                    raise
                job.retried.append(f"{error.what}; again on {self._selection.engine.device}")
                job.read_ahead()

    def _compute(self, job: Job) -> None:
        head, planes = job.open()
        self._tell_notes(job)
        self._collect(most=self._jobs)
        finisher = job.finish_behind(head, self._output)
        try:
            for slab in self._answers(job, head, self._looked_at(job, head, planes)):
                finisher.put(slab)
        except BaseException:
            finisher.close()
            raise
        self._collect(most=self._jobs - 1)  # so that what a watcher has been told lags by one mask
        finisher.end()
        job.finisher = finisher
        self._finishing.append(job)

    def _looked_at(self, job: Job, head: Head, planes: Iterator[Any]) -> Iterator[Any]:
        """The same planes. Those that the first patches take come first anyway; where their values are odd, all others
        are awaited too, so that a note on the whole stands before the network computes."""
        first = deque(itertools.islice(planes, self._plan.size(head.shape)[head.axis]))
        if job.doubtful:
            first.extend(planes)
        self._tell_notes(job)
        while first:
            yield first.popleft()
        yield from planes

    def _answers(self, job: Job, head: Head, planes: Iterator[Any]) -> Iterator[Any]:
        engine, model = self._selection.engine, self._model
        job.device = engine.device
        network = network_of(engine, model.recipe, self._plan, model.crop, head.shape, job.clock)

        def told(done: int, total: int) -> None:
            job.patches = total
            self._tell_notes(job)
            self._watcher.patches_done(done, total)
            self._collect(most=len(self._finishing))

        yield from answered(head, planes, self._plan, network, told)
        job.skipped = network.skipped

    def _collect(self, most: int) -> None:
        """End each case whose finisher is done; wait until no more than `most` are left."""
        for job in list(self._finishing):
            finisher = job.finisher
            assert finisher is not None, "a finishing case has one"
            if len(self._finishing) > most:
                finisher.join()
            if finisher.done:
                self._finishing.remove(job)
                self._end(job, finisher.error)

    def _tell_notes(self, job: Job) -> None:
        """Those that are new since it was last asked."""
        case = job.case.case_id
        told = self._noted.setdefault(case, set())
        for note in job.notes:
            if note not in told:
                told.add(note)
                self._watcher.case_noted(case, note)

    def _end(self, job: Job, error: Exception | None) -> None:
        self._tell_notes(job)
        result = job.result(error)
        job.close()
        self._under_way.remove(job)
        self._noted.pop(job.case.case_id, None)
        self._watcher.case_ended(result if self._amend is None else self._amend(result))
