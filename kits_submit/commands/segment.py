"""The middle of `kits-submit run`: the cases that are not done yet are segmented, here or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kits_submit.batch.budget import Fit, check_fit
from kits_submit.batch.fallback import Background
from kits_submit.batch.ledger import Ledger
from kits_submit.batch.manifest import Provenance
from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.batch.runner import Amend, run_cases
from kits_submit.batch.watchers import Watchers
from kits_submit.checks.parity import trust
from kits_submit.commands.options import OnFailure
from kits_submit.console import say
from kits_submit.files.cases import Case
from kits_submit.files.targets import name_error
from kits_submit.report.metrics import CaseLog, Metrics
from kits_submit.report.progress import Progress

if TYPE_CHECKING:
    from kits_submit.commands.session import Request


def segment(request: Request, cases: Sequence[Case], ledger: Ledger, by: Provenance) -> None:
    """Run the cases that the ledger does not hold yet; it has every result then.

    Raises:
        KitsError: the cluster cannot be used.
    """
    kept = {result.case for result in ledger.results}
    if kept:
        say(
            f"kept: {len(kept)} of {len(cases)} cases, done before from the same input by the same model "
            "(--fresh does them again)"
        )
    waiting = [case for case in cases if case.case_id not in kept]
    amend = Background(cases, request.output) if request.on_failure is OnFailure.background else None
    with Progress(len(waiting)) as progress, _numbers(request, len(waiting), len(kept)) as numbers:
        others = Watchers(progress, *numbers)
        told = Watchers(ledger, others)
        refused = _unnameable(waiting, request.output)
        if request.cluster is None:
            fit = check_fit(waiting, by.model.recipe) if request.memory_check else Fit([], [])
            for line in fit.tight:
                say(f"note: {line}")
            refused = [*fit.refused, *refused]
        for result in refused:
            told.case_ended(result if amend is None else amend(result))
        impossible = {result.case for result in refused}
        fitting = [case for case in waiting if case.case_id not in impossible]
        if fitting and request.cluster is not None:
            _elsewhere(request, request.cluster, fitting, ledger, others, by, amend)
        elif fitting:
            run_cases(
                fitting, request.output, by.model, by.selection, told,
                plan=by.plan, jobs=request.jobs, amend=amend, hu_offset=by.hu_offset, also=request.also,
            )  # fmt: skip


@contextmanager
def _numbers(request: Request, waiting: int, kept: int) -> Iterator[list[Watcher]]:
    """Who tells the run in numbers, as far as that is asked for."""
    log = None if request.case_log is None else CaseLog(request.case_log)
    metrics = [] if request.metrics is None else [Metrics(request.metrics, waiting, kept)]
    try:
        yield [*metrics, *([] if log is None else [log])]
    finally:
        if log is not None:
            log.close()


def _elsewhere(
    request: Request,
    address: str,
    cases: Sequence[Case],
    ledger: Ledger,
    others: Watcher,
    by: Provenance,
    amend: Amend | None,
) -> None:
    from kits_submit.batch.cluster.drive import run_on_cluster
    from kits_submit.batch.cluster.work import Work

    def tell(result: CaseResult, proof: dict[str, Any]) -> None:
        amended = amend(result) if amend is not None and result.status == "failed" else result
        ledger.record(amended, proof)
        for note in amended.notes:
            others.case_noted(amended.case, note)
        others.case_ended(amended)

    work = Work(
        request.output, by.model, by.plan, by.key,
        device=request.device, require_gpu=request.require_gpu, precision=request.precision, jobs=request.jobs,
        hu_offset=by.hu_offset, also=request.also, background=amend is not None, trust=trust,
    )  # fmt: skip
    run_on_cluster(cases, address, work, by.selection, tell, threads=request.threads, memory_check=request.memory_check)


def _unnameable(cases: Sequence[Case], output: Path) -> list[CaseResult]:
    errors = [(case, name_error(case, output)) for case in cases]
    return [CaseResult(c.case_id, "failed", str(error), error.exit_code) for c, error in errors if error]
