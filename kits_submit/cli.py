"""`kits-submit`: the commands, nothing but wiring. Alone in this package it may import evaluation, train and export."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kits_submit import __version__
from kits_submit.errors import InputError, batch_exit_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from evaluation.report import Report
    from kits_submit.cases import Case
    from kits_submit.engine.model import Model
    from kits_submit.patches import PatchPlan
    from kits_submit.pipeline import CaseResult
    from kits_submit.types import Shape

WRONG_USAGE = 2
DEFAULT_MODEL = Path(__file__).parent.parent / "models" / "kits.onnx"

ModelOption = Annotated[Path, typer.Option(envvar="KITS_MODEL", help="ONNX file written by `kits-submit export`.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda, tensorrt, openvino or cpu.")]


def run_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of KiTS cases, or one image.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for masks, scores and run.json.")],
    model: ModelOption = DEFAULT_MODEL,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps to score against. Default: those beside the images.")
    ] = None,
    device: DeviceOption = "auto",
    protocol: Annotated[str, typer.Option(help="How to score: paper, kits19, kits23 or all.")] = "paper",
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail rather than run on the CPU.")] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Cases read ahead of the network, and finished behind it, at once.")
    ] = 1,
    patch: Annotated[
        str | None, typer.Option(help="Patch as Z,Y,X voxels. Default: the model's, with which it was validated.")
    ] = None,
    margin: Annotated[str | None, typer.Option(help="Voxels discarded at a patch's inner faces, Z,Y,X.")] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Blend whole patches by Gaussian weights at this overlap; discards no margin.")
    ] = None,
) -> None:
    """Segment each case of INPUT, write masks on the input's exact grid, and score them where labels are."""
    raise typer.Exit(
        _run(source, output, model, labels, device, protocol, _Engine(require_gpu, jobs, patch, margin, overlap))
    )


def phantom_command(
    out: Annotated[Path, typer.Argument(help="Folder to write case_00000, case_00001, ... into.")],
    cases: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
    max_slices: Annotated[
        int | None, typer.Option(min=1, help="Draw from the KiTS slice thicknesses that need no more slices.")
    ] = None,
) -> None:
    """Draw synthetic KiTS cases: an abdomen with kidneys, cysts and tumors, in KiTS's own layout and geometry."""
    from kits_submit.console import say
    from kits_submit.phantom import write_phantoms

    write_phantoms(out, cases, seed, max_slices=max_slices, on_case=lambda case: say(f"drawn: {case}"))


def doctor_command(model: ModelOption = DEFAULT_MODEL, device: DeviceOption = "auto") -> None:
    """Say which device would run and why, the versions in use, and whether the model is whole."""
    from kits_submit.console import facts_table, show
    from kits_submit.doctor import examine

    facts, failure = examine(model, device)
    show(facts_table(f"kits-submit {__version__}", facts))
    if failure is not None:
        raise failure


def main(arguments: list[str] | None = None) -> None:
    """Run `kits-submit` and exit with the code of `kits_submit.errors`."""
    from kits_submit.console import run_guarded

    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    wanted = [argument for argument in given if argument != "--debug"]
    sys.exit(run_guarded(lambda: _dispatch(wanted), debug=debug))


def build_app() -> typer.Typer:
    """The Typer application, every command mounted."""
    from export.cli import export_command
    from train.cli import train_command

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="Kidney-tumor segmentation for KiTS: train, export, and run in a container. "
        "Add [bold]--debug[/bold] to any command to see tracebacks.",
    )
    app.command("run")(run_command)
    app.command("phantom")(phantom_command)
    app.command("train")(train_command)
    app.command("export")(export_command)
    app.command("doctor")(doctor_command)
    app.callback()(_root)
    return app


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"kits-submit {__version__}")
        raise typer.Exit


def _dispatch(arguments: list[str]) -> int:
    """Typer's usage errors in our form: one last line, no box drawn around it."""
    from kits_submit.console import say

    usage_error: Any = typer.BadParameter.__base__  # Typer exports this child alone of the Click that it carries
    try:
        result = build_app()(args=arguments or ["--help"], prog_name="kits-submit", standalone_mode=False)
    except typer.Exit as done:
        return done.exit_code
    except usage_error as error:
        context = getattr(error, "ctx", None)
        command = "kits-submit" if context is None else context.command_path
        say(f"error: {' '.join(error.format_message().split())}; see `{command} --help`")
        return WRONG_USAGE
    return result if isinstance(result, int) else 0


def _run(
    source: Path, output: Path, model_path: Path, labels: Path | None, device: str, protocol: str, engine: _Engine
) -> int:
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
    selection = select_engine(device, model, require_gpu=engine.require_gpu)
    plan = engine.plan(model)
    prepare_output(output)
    with Progress(len(cases)) as progress:
        results = run_cases(cases, output, model, selection, progress, plan=plan, jobs=engine.jobs)
    report = _score(results, truths, output, protocol)
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


@dataclass(frozen=True)
class _Engine:
    """The options of `run` that concern the engine."""

    require_gpu: bool
    jobs: int
    patch: str | None
    margin: str | None
    overlap: float | None

    def plan(self, model: Model) -> PatchPlan:
        """Raises: InputError: a plan that the network cannot have."""
        from kits_submit.patches import PatchPlan

        recipe = model.recipe
        sizes = (_three(self.patch, recipe.patch, "--patch"), _three(self.margin, recipe.margin, "--margin"))
        return PatchPlan(*sizes, recipe.multiple, self.overlap)


def _three(text: str | None, default: Shape, option: str) -> Shape:
    if text is None:
        return default
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise InputError(f"{option} is {text!r}, allowed: three whole numbers", fix=f"write {option} 48,48,48")
    z, y, x = (int(part) for part in parts)
    return z, y, x


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


def _score(results: Sequence[CaseResult], truths: Mapping[str, Path], output: Path, protocol: str) -> Report | None:
    """Score the masks just written that have a label map, write `scores.csv` and `scores.json`; None without any."""
    from evaluation.score import score_pairs
    from evaluation.table import write_csv, write_json

    pairs = [
        (result.case, output / result.prediction, truths[result.case])
        for result in results
        if result.prediction is not None and result.case in truths
    ]
    if not pairs:
        return None
    report = score_pairs(pairs, protocol)
    write_csv(report, output / "scores.csv")
    write_json(report, output / "scores.json")
    return report


def _rendered(report: Report) -> Table:
    from evaluation.table import render

    return render(report)
