"""`kits-submit run`: segment a folder of cases, and score the masks where labels are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kits_submit.commands.options import DEFAULT_MODEL, DeviceOption, ModelOption
from kits_submit.errors import InputError, batch_exit_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from evaluation.report import Report
    from kits_submit.cases import Case
    from kits_submit.pipeline import CaseResult


def run_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of KiTS cases, or one image.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for masks, scores and run.json.")],
    model: ModelOption = DEFAULT_MODEL,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps to score against. Default: those beside the images.")
    ] = None,
    device: DeviceOption = "auto",
    protocol: Annotated[str, typer.Option(help="How to score: paper, kits19, kits23 or all.")] = "paper",
) -> None:
    """Segment each case of INPUT, write masks on the input's exact grid, and score them where labels are."""
    raise typer.Exit(_run(source, output, model, labels, device, protocol))


def _run(source: Path, output: Path, model_path: Path, labels: Path | None, device: str, protocol: str) -> int:
    from evaluation.case import Settings
    from kits_submit.cases import find_cases
    from kits_submit.console import Progress, case_table, close, say, show
    from kits_submit.engine.model import load_model
    from kits_submit.engine.select import select_engine
    from kits_submit.pipeline import manifest, run_cases
    from kits_submit.submission import MANIFEST, prepare_output, write_json

    started = time.perf_counter()
    Settings(protocol)
    cases = find_cases(source)
    truths = _truths(cases, labels)
    model = load_model(model_path)
    selection = select_engine(device, model)
    prepare_output(output)
    with Progress(len(cases)) as progress:
        results = run_cases(cases, output, model, selection.engine, progress)
    report = _score(_masks(cases, results, output), truths, output, protocol)
    failures = [(f"{result.case}: {result.error}", result.exit_code) for result in results if result.error]
    if report is not None:
        scoring = [(f"{issue.case}: {issue.message}", issue.exit_code) for issue in report.issues if issue.exit_code]
        for message, _ in scoring:
            say(f"failed: {message}")
        failures += scoring
    code = batch_exit_code(kind for _, kind in failures)
    write_json(output / MANIFEST, manifest(results, model, selection, time.perf_counter() - started, code))
    show(case_table(results), None if report is None else _rendered(report))
    close(failures, len(cases))
    return code


def _truths(cases: Sequence[Case], labels: Path | None) -> dict[str, Path]:
    """Label maps by case: those beside the images, or those of a folder, of which at least one must match.

    Raises:
        InputError: no mask in `labels`, or none of a case at hand.
    """
    from kits_submit.cases import find_masks

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
    from kits_submit.cases import prediction_path

    images = {case.case_id: case.image for case in cases}
    return {
        result.case: output / prediction_path(result.case, image)
        for result in results
        if result.prediction is not None and (image := images[result.case]) is not None
    }


def _score(masks: Mapping[str, Path], truths: Mapping[str, Path], output: Path, protocol: str) -> Report | None:
    """Score the masks that have a label map, write `scores.csv` and `scores.json`; None without any."""
    from evaluation.score import score_pairs
    from evaluation.table import write_csv, write_json

    pairs = [(case, mask, truths[case]) for case, mask in masks.items() if case in truths]
    if not pairs:
        return None
    report = score_pairs(pairs, protocol)
    write_csv(report, output / "scores.csv")
    write_json(report, output / "scores.json")
    return report


def _rendered(report: Report) -> Table:
    from evaluation.table import render

    return render(report)
