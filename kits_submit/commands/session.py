"""What `kits-submit run` does, from a request to an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.case import Settings
from evaluation.cohort import score_pairs
from evaluation.tables.table import render, write_csv, write_json
from kits_submit.batch.budget import Fit, check_fit
from kits_submit.batch.fallback import Background, counts_as_failure
from kits_submit.batch.ledger import Ledger
from kits_submit.batch.manifest import Provenance
from kits_submit.batch.runner import run_cases
from kits_submit.batch.watchers import Watchers
from kits_submit.checks.parity import trust
from kits_submit.commands.options import OnFailure
from kits_submit.commands.plan import patch_plan
from kits_submit.commands.series import chosen
from kits_submit.console import close, say, show
from kits_submit.engine.model import load_model
from kits_submit.engine.select import select_engine
from kits_submit.errors import InputError, KitsError, batch_exit_code
from kits_submit.files.cases import Case, find_cases, find_masks, prediction_path
from kits_submit.files.output import SCORES, output_folder
from kits_submit.files.upload import write_upload
from kits_submit.report.pictures import draw_picture
from kits_submit.report.progress import Progress
from kits_submit.report.tables import case_table

if TYPE_CHECKING:
    from evaluation.report import Report

Failure = tuple[str, int]  # a line, and the exit code of its kind


@dataclass(frozen=True)
class Request:
    """What a run is asked for; each field is an option of `kits-submit run`, whose help says what it means."""

    source: Path
    output: Path
    model: Path
    labels: Path | None = None
    device: str = "auto"
    protocol: str = "paper"
    on_failure: OnFailure = OnFailure.error
    upload: bool = False
    fresh: bool = False
    memory_check: bool = True
    require_gpu: bool = False
    jobs: int = 1
    patch: str | None = None
    margin: str | None = None
    overlap: float | None = None
    pictures: bool = False
    series: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    patient_names: bool = False


class Session:
    """One run. What cannot work at all fails when it is made, before anything is written.

    Raises:
        KitsError: no case, labels of other cases, a model or a device that cannot be used.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        Settings(request.protocol)
        self._cases, left_out = chosen(
            find_cases(request.source), request.source, request.series, names=request.patient_names
        )
        for line in left_out:
            say(f"note: {line}")
        self._images = {case.case_id: case.image for case in self._cases}
        self._truths = _truths(self._cases, request.labels)
        self._model = load_model(request.model)
        selection = select_engine(request.device, self._model, require_gpu=request.require_gpu)
        trust(selection, self._model)
        plan = patch_plan(self._model.recipe, request.patch, request.margin, request.overlap)
        self._made_by = Provenance(self._model, selection, plan)

    def run(self) -> int:
        """Segment, draw and score; the exit code.

        Raises:
            OutputError: the folder or a summary cannot be written.
        """
        with output_folder(self._request.output):
            ledger = Ledger(self._cases, self._request.output, self._made_by, fresh=self._request.fresh)
            self._segment(ledger)
            if self._request.pictures:
                self._draw(ledger)
            return self._conclude(ledger)

    def _segment(self, ledger: Ledger) -> None:
        """Run the cases that the ledger does not hold yet and that fit into memory; it has every result then."""
        kept = {result.case for result in ledger.results}
        if kept:
            say(
                f"kept: {len(kept)} of {len(self._cases)} cases, done before from the same input by the same model "
                "(--fresh does them again)"
            )
        waiting = [case for case in self._cases if case.case_id not in kept]
        fit = check_fit(waiting, self._model.recipe) if self._request.memory_check else Fit([], [])
        for line in fit.tight:
            say(f"note: {line}")
        wants_masks = self._request.on_failure is OnFailure.background
        amend = Background(self._cases, self._request.output) if wants_masks else None
        with Progress(len(waiting)) as progress:
            watcher = Watchers(ledger, progress)
            for result in fit.refused:
                watcher.case_ended(result if amend is None else amend(result))
            too_large = {result.case for result in fit.refused}
            fitting = [case for case in waiting if case.case_id not in too_large]
            if fitting:
                by = self._made_by
                run_cases(
                    fitting, self._request.output, by.model, by.selection, watcher,
                    plan=by.plan, jobs=self._request.jobs, amend=amend, also=self._request.also,
                )  # fmt: skip

    def _draw(self, ledger: Ledger) -> None:
        """One picture a mask, `CASE.png`; a picture that fails is told and costs nothing else."""
        for case, mask in self._masks(ledger).items():
            image = self._images[case]
            assert image is not None, "a mask was made of it"
            path = self._request.output / f"{case}.png"
            try:
                draw_picture(path, case, image, mask, self._truths.get(case), labels=self._model.recipe.labels)
            except KitsError as error:
                say(f"no picture of {case}: {error}")

    def _conclude(self, ledger: Ledger) -> int:
        """Score, zip, write the manifest, print the tables and the last line; the exit code."""
        results = ledger.results
        report = self._score(ledger)
        failures = [(f"{r.case}: {r.error}", r.exit_code) for r in results if counts_as_failure(r)]
        scoring = [] if report is None else [(f"{i.case}: {i.message}", i.exit_code) for i in report.issues]
        scoring = [failure for failure in scoring if failure[1]]
        for message, _ in scoring:
            say(f"failed: {message}")
        failures += scoring
        if self._request.upload:
            failures += self._zip(ledger, told_already=bool(failures))
        code = batch_exit_code(kind for _, kind in failures)
        ledger.write(code)
        show(case_table(results, self._model.recipe.labels), None if report is None else render(report))
        close(failures, len(self._cases))
        return code

    def _zip(self, ledger: Ledger, *, told_already: bool) -> list[Failure]:
        """Write the upload; its failure, unless it only follows from the failure of cases."""
        try:
            write_upload(self._request.output, {r.case for r in ledger.results if r.prediction is None})
        except InputError as error:
            say(f"failed: {error}")
            return [] if told_already else [(str(error), error.exit_code)]
        return []

    def _masks(self, ledger: Ledger) -> dict[str, Path]:
        """The masks that stand after this run, by case."""
        return {
            result.case: self._request.output / prediction_path(result.case, image)
            for result in ledger.results
            if result.prediction is not None and (image := self._images[result.case]) is not None
        }

    def _score(self, ledger: Ledger) -> Report | None:
        """Score the masks that have a label map, write `scores.csv` and `scores.json`; None without any."""
        pairs = [(case, mask, self._truths[case]) for case, mask in self._masks(ledger).items() if case in self._truths]
        if not pairs:
            return None
        report = score_pairs(pairs, self._request.protocol)
        for name, write in zip(SCORES, (write_csv, write_json), strict=True):
            write(report, self._request.output / name)
        return report


def _truths(cases: Sequence[Case], labels: Path | None) -> Mapping[str, Path]:
    """Label maps by case: those beside the images, or those of a folder, of which at least one must match.

    Raises:
        InputError: no mask in `labels`, or none of a case at hand.
    """
    if labels is None:
        return {case.case_id: case.label for case in cases if case.label is not None}
    masks = find_masks(labels)
    wanted = {case.case_id for case in cases}
    if labels.is_file() and len(cases) == 1:
        return {cases[0].case_id: labels}
    if not wanted & masks.keys():
        raise InputError(
            f"no label map of any case: it has {', '.join(sorted(masks)[:3])}, the input has "
            f"{', '.join(sorted(wanted)[:3])}",
            fix="name both by case number",
            path=labels,
        )
    return {case: mask for case, mask in masks.items() if case in wanted}
