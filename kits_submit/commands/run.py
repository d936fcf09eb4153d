"""`kits-submit run`: segment a folder of cases, and score the masks where labels are."""

from __future__ import annotations

import time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kits_submit.commands.options import DEFAULT_MODEL, DeviceOption, ModelOption
from kits_submit.errors import InputError, batch_exit_code

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.table import Table

    from evaluation.report import Report
    from kits_submit.batch.ledger import Ledger
    from kits_submit.batch.outcome import CaseResult
    from kits_submit.engine.model import Model
    from kits_submit.engine.select import Selection
    from kits_submit.files.cases import Case
    from kits_submit.inference.patches import PatchPlan


class OnFailure(StrEnum):
    """What stands in the output folder for a case that failed."""

    error = "error"
    background = "background"


def run_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of KiTS cases, or one image.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for masks, scores and run.json.")],
    *,
    model: ModelOption = DEFAULT_MODEL,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps to score against. Default: those beside the images.")
    ] = None,
    device: DeviceOption = "auto",
    protocol: Annotated[str, typer.Option(help="How to score: paper, kits19, kits23 or all.")] = "paper",
    on_failure: Annotated[
        OnFailure,
        typer.Option(help="A case that fails has no mask, or an all-background one where its header can be read."),
    ] = OnFailure.error,
    upload: Annotated[
        bool, typer.Option("--zip", help="Also write predictions.zip for KiTS19's 90 test cases.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do again what an earlier run into OUTPUT did.")] = False,
    memory_check: Annotated[
        bool, typer.Option(help="Refuse a case that would not fit into memory, before anything is computed.")
    ] = True,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail rather than run on the CPU.")] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Cases read ahead of the network, and finished behind it, at once.")
    ] = 1,
    patch: Annotated[str | None, typer.Option(help="Patch as Z,Y,X voxels. Default: the model's.")] = None,
    margin: Annotated[str | None, typer.Option(help="Voxels discarded at a patch's inner faces, Z,Y,X.")] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Blend whole patches by Gaussian weights at this overlap; discards no margin.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also draw a PNG a case: three planes with the masks' contours.")
    ] = False,
) -> None:
    """Segment each case of INPUT, write masks on the input's exact grid, and score them where labels are.

    A run that was stopped is resumed: cases done already, from the same input by the same model, are kept.
    """
    from evaluation.case import Settings
    from kits_submit.batch.pipeline import run_cases
    from kits_submit.checks.parity import trust
    from kits_submit.commands.plan import patch_plan
    from kits_submit.engine.model import load_model
    from kits_submit.engine.select import select_engine
    from kits_submit.files.cases import find_cases
    from kits_submit.files.output import output_folder

    started = time.perf_counter()
    Settings(protocol)
    cases = find_cases(source)
    truths = _truths(cases, labels)
    loaded = load_model(model)
    selection = select_engine(device, loaded, require_gpu=require_gpu)
    trust(selection, loaded)
    plan = patch_plan(loaded.recipe, patch, margin, overlap)
    with output_folder(output):
        ledger = _ledger(cases, output, loaded, selection, plan, started, fresh=fresh)
        segmenting = partial(run_cases, output=output, model=loaded, selection=selection, plan=plan, jobs=jobs)
        _segment(cases, output, loaded, segmenting, ledger, on_failure=on_failure, memory_check=memory_check)
        if pictures:
            _draw(cases, output, truths, ledger)
        code = _conclude(cases, output, truths, ledger, protocol=protocol, upload=upload)
    raise typer.Exit(code)


def _ledger(
    cases: Sequence[Case],
    output: Path,
    model: Model,
    selection: Selection,
    plan: PatchPlan,
    started: float,
    *,
    fresh: bool,
) -> Ledger:
    from kits_submit.batch.ledger import Ledger
    from kits_submit.batch.pipeline import manifest

    def document(results: Sequence[CaseResult], exit_code: int | None) -> dict[str, Any]:
        made = manifest(results, model, selection, time.perf_counter() - started, exit_code or 0)
        return made | {"exit_code": exit_code}

    return Ledger(cases, output, model, plan, document, fresh=fresh)


def _segment(
    cases: Sequence[Case],
    output: Path,
    model: Model,
    segmenting: Callable[..., object],
    ledger: Ledger,
    *,
    on_failure: OnFailure,
    memory_check: bool,
) -> None:
    """Run the cases that the ledger does not hold yet and that fit into memory; the ledger has every result then.

    Args:
        segmenting: `run_cases` with everything but the cases and the watcher.
    """
    from kits_submit.batch.budget import Fit, check_fit
    from kits_submit.batch.fallback import Background
    from kits_submit.batch.watchers import Watchers
    from kits_submit.console import Progress, say

    kept = {result.case for result in ledger.results}
    if kept:
        say(
            f"kept: {len(kept)} of {len(cases)} cases, done before from the same input by the same model "
            "(--fresh does them again)"
        )
    waiting = [case for case in cases if case.case_id not in kept]
    fit = check_fit(waiting, model.recipe) if memory_check else Fit([], [])
    for line in fit.tight:
        say(f"note: {line}")
    with Progress(len(waiting)) as progress:
        masks = [Background(cases, output)] if on_failure is OnFailure.background else []
        watcher = Watchers(*masks, ledger, progress)
        for result in fit.refused:
            watcher.case_ended(result)
        too_large = {result.case for result in fit.refused}
        fitting = [case for case in waiting if case.case_id not in too_large]
        if fitting:
            segmenting(fitting, watcher=watcher)


def _draw(cases: Sequence[Case], output: Path, truths: Mapping[str, Path], ledger: Ledger) -> None:
    """One picture a mask, `CASE.png`; a picture that fails is told and costs nothing else."""
    from kits_submit.console import say
    from kits_submit.errors import KitsError
    from kits_submit.report.pictures import draw_picture

    images = {case.case_id: case.image for case in cases}
    for case, mask in _masks(cases, ledger.results, output).items():
        image = images[case]
        if image is None:
            continue
        try:
            draw_picture(output / f"{case}.png", case, image, mask, truths.get(case))
        except KitsError as error:
            say(f"no picture of {case}: {error}")


def _conclude(
    cases: Sequence[Case], output: Path, truths: Mapping[str, Path], ledger: Ledger, *, protocol: str, upload: bool
) -> int:
    """Score, zip, write the manifest, print the tables and the last line; the exit code."""
    from kits_submit.batch.fallback import counts_as_failure
    from kits_submit.console import case_table, close, say, show

    results = ledger.results
    report = _score(_masks(cases, results, output), truths, output, protocol)
    failures = [(f"{result.case}: {result.error}", result.exit_code) for result in results if counts_as_failure(result)]
    scoring = [] if report is None else [(f"{i.case}: {i.message}", i.exit_code) for i in report.issues if i.exit_code]
    for message, _ in scoring:
        say(f"failed: {message}")
    failures += scoring
    if upload:
        failures += _zip(results, output, told_already=bool(failures))
    code = batch_exit_code(kind for _, kind in failures)
    ledger.write(code)
    show(case_table(results), None if report is None else _rendered(report))
    close(failures, len(cases))
    return code


def _zip(results: Sequence[CaseResult], output: Path, *, told_already: bool) -> list[tuple[str, int]]:
    """Write the upload; its failure, unless it only follows from the failure of cases."""
    from kits_submit.console import say
    from kits_submit.files.upload import write_upload

    try:
        write_upload(output, {result.case for result in results if result.prediction is None})
    except InputError as error:
        say(f"failed: {error}")
        return [] if told_already else [(str(error), error.exit_code)]
    return []


def _truths(cases: Sequence[Case], labels: Path | None) -> dict[str, Path]:
    """Label maps by case: those beside the images, or those of a folder, of which at least one must match.

    Raises:
        InputError: no mask in `labels`, or none of a case at hand.
    """
    from kits_submit.files.cases import find_masks

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


def _masks(cases: Sequence[Case], results: Sequence[CaseResult], output: Path) -> dict[str, Path]:
    """The masks that stand after this run, by case."""
    from kits_submit.files.cases import prediction_path

    images = {case.case_id: case.image for case in cases}
    return {
        result.case: output / prediction_path(result.case, image)
        for result in results
        if result.prediction is not None and (image := images[result.case]) is not None
    }


def _score(masks: Mapping[str, Path], truths: Mapping[str, Path], output: Path, protocol: str) -> Report | None:
    """Score the masks that have a label map, write `scores.csv` and `scores.json`; None without any."""
    from evaluation.cohort import score_pairs
    from evaluation.tables.table import write_csv, write_json

    pairs = [(case, mask, truths[case]) for case, mask in masks.items() if case in truths]
    if not pairs:
        return None
    report = score_pairs(pairs, protocol)
    write_csv(report, output / "scores.csv")
    write_json(report, output / "scores.json")
    return report


def _rendered(report: Report) -> Table:
    from evaluation.tables.table import render

    return render(report)
