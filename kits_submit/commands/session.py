"""What `kits-submit run` does, from a request to an exit code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.case import Settings
from evaluation.cohort import score_pairs
from evaluation.masks.geometry import check_same_grid
from evaluation.tables.rows import write_report_rows
from evaluation.tables.table import render, write_csv, write_json
from kits_submit.batch.fallback import counts_as_failure
from kits_submit.batch.ledger import Ledger
from kits_submit.batch.manifest import Provenance
from kits_submit.batch.merge import shard_facts
from kits_submit.batch.outcome import NO_KIDNEY
from kits_submit.batch.shards import cases_of, listing_sha256
from kits_submit.checks.parity import trust
from kits_submit.commands.options import Names, OnFailure
from kits_submit.commands.plan import patch_plan
from kits_submit.commands.protocol import contradictions, protocol_for, refuse_unknown_labels, round_for
from kits_submit.commands.segment import segment
from kits_submit.commands.series import chosen
from kits_submit.commands.views import Views
from kits_submit.console import close, say, show, show_json, width
from kits_submit.engine.model import load_model
from kits_submit.engine.select import Selection, select_engine
from kits_submit.errors import InputError, KitsError, UsageError, batch_exit_code
from kits_submit.files.cases import Case, find_cases, find_masks
from kits_submit.files.left_out import left_out
from kits_submit.files.masks import drawn_on
from kits_submit.files.output import SCORES, output_folder
from kits_submit.files.parts import WHOLE, Part
from kits_submit.files.targets import check_targets
from kits_submit.files.upload import ARCHIVE, write_upload
from kits_submit.files.volume import read_grid
from kits_submit.report.tables import case_table

if TYPE_CHECKING:
    from evaluation.report import Report

_LABEL_FIX = "give the label map that was drawn on this image"
Failure = tuple[str, int]  # a line, and the exit code of its kind


@dataclass(frozen=True)
class Request:
    """What a run is asked for; each field is an option of `kits-submit run`, whose help says what it means."""

    source: Path
    output: Path
    model: Path
    labels: Path | None = None
    device: str = "auto"
    protocol: str | None = None
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
    report: bool = False
    judged: str | None = None
    hu_offset: float = 0.0
    threads: int | None = None
    names: Names = Names.kits
    as_json: bool = False
    series: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    part: Part = WHOLE
    cluster: str | None = None
    metrics: Path | None = None
    case_log: Path | None = None
    precision: str = "fp32"
    fast: bool = False


class Session:
    """One run. What cannot work at all fails when it is made, before anything is written.

    Raises:
        KitsError: no case, labels of other cases, a model or a device that cannot be used.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        if request.protocol is not None:
            Settings(request.protocol)
        found, unfit = chosen(
            find_cases(request.source, request.output), request.source, request.series,
            names=request.names is Names.patient,
        )  # fmt: skip
        for line in unfit:
            say(f"note: {line}")
        self._listed = [replace(case, keeps_name=request.names is Names.source) for case in found]
        self._cases = cases_of(request.part, self._listed)
        self._images = {case.case_id: case.image for case in self._listed}
        self._truths = _truths(self._listed, request.labels)
        images = [image for image in self._images.values() if image is not None]
        check_targets(self._listed, request.output, [*images, *self._truths.values(), request.model])
        model = load_model(request.model)
        self._model = model.faster() if request.fast else model
        self._protocol = protocol_for(self._model.recipe.labels, request.protocol)
        self._round = round_for(self._model.recipe.labels, request.judged, request.model)
        if self._truths:
            refuse_unknown_labels(self._model.recipe.labels, self._protocol, request.model)
        selection = self._engine()
        plan = patch_plan(self._model.recipe, request.patch, request.margin, request.overlap)
        self._made_by = Provenance(self._model, selection, plan, request.hu_offset, request.fast)
        self._views = Views(request.output, self._model, self._images, self._truths, request.hu_offset)

    def run(self) -> int:
        """Segment, draw and score; the exit code.

        Raises:
            OutputError: the folder or a summary cannot be written.
        """
        request = self._request
        rest = left_out(request.source, request.output, self._listed, self._truths.values())
        if rest:
            say(f"note: {rest}")
        summaries = (*(self._score_files if self._truths else ()), *((ARCHIVE,) if request.upload else ()))
        with (
            output_folder(request.output, summaries, request.part),
            Ledger(
                self._cases, request.output, self._made_by,
                fresh=request.fresh, part=request.part, more=self._shard_facts(), also=request.also,
            ) as ledger,
        ):  # fmt: skip
            segment(request, self._cases, ledger, self._made_by)
            if request.pictures and not request.report:
                self._views.draw(ledger, self._masks(ledger))
            return self._conclude(ledger)

    @property
    def _score_files(self) -> tuple[str, ...]:
        """Of a shard its rows alone, of which `kits-submit merge` makes the tables."""
        part = self._request.part
        return SCORES if part.is_whole else (part.named(SCORES[1]),)

    def _shard_facts(self) -> dict[str, Any]:
        part = self._request.part
        made_by = hashlib.sha256(self._made_by.key.encode()).hexdigest()
        return {} if part.is_whole else shard_facts(part, made_by, listing_sha256(self._listed))

    def _engine(self) -> Selection:
        """What computes here; on a cluster that is each worker's own."""
        request = self._request
        if request.cluster is not None:
            from kits_submit.batch.cluster.drive import Elsewhere

            if request.precision == "auto":
                raise UsageError("--precision auto with --cluster, whose nodes may differ", fix="give fp32 or bf16")
            stored = "fp16" if self._model.half else "fp32"
            return Selection(Elsewhere(precision=request.precision if request.precision == "bf16" else stored))
        selection = select_engine(
            request.device, self._model, require_gpu=request.require_gpu, threads=request.threads,
            precision=request.precision,
        )  # fmt: skip
        trust(selection, self._model)
        return selection

    def _report(self, ledger: Ledger, report: Report | None) -> list[Failure]:
        """Write the page; its failure, where it has one."""
        try:
            page = self._views.report(ledger, self._masks(ledger), report, pictures=self._request.pictures)
        except KitsError as error:
            say(f"failed: {error}")
            return [(str(error), error.exit_code)]
        say(f"report: {page}")
        return []

    def _conclude(self, ledger: Ledger) -> int:
        """Score, zip, write the manifest, print the tables and the last line; the exit code."""
        results = ledger.results
        report = self._score(ledger)
        failures = [(f"{r.case}: {r.error}", r.exit_code) for r in results if counts_as_failure(r)]
        for line in contradictions(results, self._model.recipe.regions):
            say(f"note: {line}")
        scoring = [] if report is None else [(f"{i.case}: {i.message}", i.exit_code) for i in report.issues]
        scoring = [failure for failure in scoring if failure[1]]
        for message, _ in scoring:
            say(f"failed: {message}")
        failures += scoring
        if self._request.upload:
            failures += self._zip(ledger, told_already=bool(failures))
        if self._request.report:
            failures += self._report(ledger, report)
        code = batch_exit_code(kind for _, kind in failures)
        document = ledger.conclude(code)
        if self._request.as_json:
            show_json(document)
        else:
            table = case_table(results, self._model.recipe.labels, width())
            show(table, None if report is None else render(report))
        without = [result.case for result in results if NO_KIDNEY in result.notes]
        if without:
            say(f"note: no kidney was found in {len(without)} of {len(results)} cases: {_some(without)}")
        close(failures, len(self._cases))
        return code

    def _zip(self, ledger: Ledger, *, told_already: bool) -> list[Failure]:
        """Write the upload; its failure, unless it only follows from the failure of cases."""
        try:
            self._check_masks(ledger)
            write_upload(self._request.output, {r.case for r in ledger.results if r.prediction is None}, self._round)
        except KitsError as error:
            say(f"failed: {error}")
            return [] if told_already else [(str(error), error.exit_code)]
        ledger.summaries.append(ARCHIVE)
        return []

    def _check_masks(self, ledger: Ledger) -> None:
        """As KiTS23 checks an upload: shape and affine of each of its masks. Raises: GeometryError: one differs."""
        for case, mask in self._masks(ledger).items():
            image = self._images[case]
            if case in self._round.cases and image is not None:
                check_same_grid(read_grid(mask), read_grid(image), mask, named="its image")

    def _masks(self, ledger: Ledger) -> dict[str, Path]:
        """The masks that stand after this run, by case."""
        targets = {case.case_id: case.target for case in self._cases}
        return {
            result.case: self._request.output / targets[result.case]
            for result in ledger.results
            if result.prediction is not None
        }

    def _score(self, ledger: Ledger) -> Report | None:
        """Score the masks that have a label map, write `scores.csv` and `scores.json`; None without any."""
        pairs = [
            (case, mask, self._truth_on_grid(case))
            for case, mask in self._masks(ledger).items()
            if case in self._truths
        ]
        if not pairs:
            return None
        report = score_pairs(pairs, self._protocol)
        writers = (write_csv, write_json) if self._request.part.is_whole else (write_report_rows,)
        for name, write in zip(self._score_files, writers, strict=True):
            write(report, self._request.output / name)
            ledger.summaries.append(name)
        return report

    def _truth_on_grid(self, case: str) -> Path | KitsError:
        """A case's label map, or why it is none of this image: the mask lies on the image's grid."""
        truth, image = self._truths[case], self._images[case]
        assert image is not None, "a mask was made of it"
        try:
            check_same_grid(read_grid(truth), drawn_on(read_grid(image)), truth, named="the image", fix=_LABEL_FIX)
        except KitsError as error:
            return error
        return truth


def _some(cases: Sequence[str]) -> str:
    return ", ".join(cases[:8]) + (f" and {len(cases) - 8} more" if len(cases) > 8 else "")


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
