"""One worker: a model, its engine, and the batch of one machine, fed case by case from outside. Knows no Ray."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
import uuid
from concurrent.futures import Future
from typing import Any

from kits_submit import __version__
from kits_submit.batch.cluster.work import Ready, Work
from kits_submit.batch.fallback import Background
from kits_submit.batch.journal import Journal, writer_name
from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.batch.proof import Prover, State
from kits_submit.batch.runner import run_feed
from kits_submit.engine.select import Selection, select_engine
from kits_submit.errors import DeviceError, KitsError, OutputError
from kits_submit.files.cases import Case
from kits_submit.files.output import JOURNAL
from kits_submit.mounts import add, mount_of

Done = tuple[CaseResult, dict[str, Any]]  # a result and its proof


class Worker(Watcher):
    """`segment` may be called several times at once: a batch reads ahead and writes behind what it is given."""

    def __init__(self, work: Work, threads: int) -> None:
        self._work, self._threads = work, threads
        self._waiting: queue.Queue[Case] = queue.Queue()
        self._asked: dict[str, tuple[Case, State | None, Future[Done]]] = {}
        self._started: dict[str, float] = {}
        self._prover = Prover(work.output, work.made_by, work.also)
        for mount in work.mounts:
            add(mount)
        self._journal = Journal(work.output, _journal_name(work))

    def start(self) -> Ready | KitsError:
        """Choose an engine and begin; or why this node cannot take part."""
        work = self._work
        try:
            self._refuse_unfit_node()
            selection = select_engine(
                work.device, work.model, require_gpu=work.require_gpu, threads=self._threads, precision=work.precision
            )
            if work.trust is not None:
                work.trust(selection, work.model)
        except KitsError as error:
            return error
        threading.Thread(target=self._run, args=(selection,), daemon=True).start()
        engine = selection.engine
        return Ready(engine.name, engine.device, getattr(engine, "threads", None), selection.steps, os.getpid())

    def segment(self, case: Case, state: State | None) -> Done:
        """The case's result, and what proves that it is done."""
        answer: Future[Done] = Future()
        self._asked[case.case_id] = case, state, answer
        self._waiting.put(case)
        return answer.result()

    def take(self, *, wait: bool) -> Case | None:
        """See `batch.runner.Feed`; a worker waits as long as it lives."""
        try:
            return self._waiting.get(block=wait)
        except queue.Empty:
            return None

    def case_started(self, case: str) -> None:
        self._started[case] = time.time()

    def case_ended(self, result: CaseResult) -> None:
        """Recorded here first, so that it is kept whatever becomes of the one who asked."""
        case, state, answer = self._asked.pop(result.case)
        if self._work.background:
            result = Background([case], self._work.output)(result)
        proof = self._prover.proof(case, state) if result.status == "done" else {}
        times = {"started": self._started.pop(result.case, time.time()), "ended": time.time()}
        self._journal.add(result.entry() | times | proof)
        answer.set_result((result, proof))

    def _run(self, selection: Selection) -> None:
        work = self._work
        try:
            run_feed(
                self, work.output, work.model, selection, self,
                plan=work.plan, jobs=work.jobs, hu_offset=work.hu_offset, also=work.also,
            )  # fmt: skip
        finally:
            os._exit(1)  # a batch that ends is one that broke: whoever waits is told that this worker has died

    def _refuse_unfit_node(self) -> None:
        work, node = self._work, socket.gethostname()
        if work.version != __version__:
            what = f"node {node} has kits-submit {__version__}, the run has {work.version}"
            raise DeviceError(what, fix="install one version on every node")
        if not work.token:
            return
        if not (work.output / work.token).is_file():
            what = f"node {node} does not see the run's folder"
            raise OutputError(what, fix="give a folder that all nodes share, or a bucket", path=work.output)
        try:
            probe = work.output / f"{work.token}.{uuid.uuid4().hex[:8]}.part"
            probe.touch()
            probe.unlink()
        except OSError as error:
            what = f"node {node} cannot write there ({error.strerror})"
            raise OutputError(what, fix="let its user write the folder", path=work.output) from None


def _journal_name(work: Work) -> str:
    """In a bucket each case is an object of its own, and one name does for all."""
    if mount_of(work.output) is not None:
        return JOURNAL
    return writer_name(f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
