"""`kits-eval`: score predictions, compare two runs, rank submissions."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from evaluation.console import Stopped, note, progress, show, stoppable
from kits_submit.console import be_quiet, hold_streams
from kits_submit.errors import InputError, KitsError
from kits_submit.usage import HELP_NAMES, call

if TYPE_CHECKING:
    from evaluation.masks.matching import Pair
    from evaluation.report import Report

DEFAULT_COMMAND = "score"


class _DefaultCommand(TyperGroup):
    """`kits-eval PREDICTIONS LABELS` is `kits-eval score PREDICTIONS LABELS`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h", "--version"):
            args = [DEFAULT_COMMAND, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=_DefaultCommand,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=HELP_NAMES,
    help=(
        "Score kidney and tumor segmentations. `kits-eval PREDICTIONS LABELS` is short for"
        " `kits-eval score PREDICTIONS LABELS`; `kits-eval score --help` lists its options."
    ),
)


class ProtocolName(StrEnum):
    """`kits.PROTOCOLS`, spelled here so that `--help` loads nothing."""

    paper = "paper"
    kits19 = "kits19"
    kits23 = "kits23"
    all = "all"


class Missing(StrEnum):
    """`kits.MISSING_CHOICES`."""

    error = "error"
    background = "background"
    skip = "skip"


_LABELS_HELP = "True label maps: a folder in any KiTS layout, or one file."
_PREDICTIONS_HELP = "Predicted label maps: a folder in any KiTS layout, predictions.zip, or one file."

Labels = Annotated[Path, typer.Argument(metavar="LABELS", help=_LABELS_HELP, show_default=False)]
ProtocolOption = Annotated[ProtocolName, typer.Option(help="What to measure.")]
MissingOption = Annotated[
    Missing, typer.Option(help="A case without prediction: an error, all background (KiTS19's rule), or left out.")
]
JobsOption = Annotated[int, typer.Option(min=1, help="Cases at a time, in processes; fewer where memory is short.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write everything as JSON.", show_default=False)]
MarkdownOption = Annotated[Path | None, typer.Option("--markdown", help="Write tables to paste.", show_default=False)]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where a failure happened.")]


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help=_PREDICTIONS_HELP, show_default=False)],
    labels: Labels,
    *,
    protocol: ProtocolOption = ProtocolName.all,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write a row a case.", show_default=False)] = None,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    jobs: JobsOption = 1,
    missing: MissingOption = Missing.error,
    official_compat: Annotated[
        bool, typer.Option("--official-compat", help="Reproduce the official code's numbers, traps included.")
    ] = False,
    debug: DebugOption = False,  # noqa: ARG001 - `main` looks for it
) -> None:
    """Score each case of PREDICTIONS against LABELS: geometry first, then the protocol's measures.

    Exit code 0 if every case was scored; else the kind of failure that the failed cases share (3 missing, 4 unreadable,
    5 geometry, 6 labels), 10 where they differ. The other cases' scores are written all the same.
    """
    from evaluation.tables.table import render, write_csv, write_json, write_markdown

    report = _score(predictions, labels, protocol, jobs, missing, official_compat=official_compat)
    for path, write in ((csv, write_csv), (json, write_json), (markdown, write_markdown)):
        if path is not None:
            write(report, path)
    show(render(report))
    _finish([("", report)])


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help=f"One run. {_PREDICTIONS_HELP}", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other run.", show_default=False)],
    labels: Labels,
    *,
    protocol: ProtocolOption = ProtocolName.kits23,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    jobs: JobsOption = 1,
    missing: MissingOption = Missing.error,
    debug: DebugOption = False,  # noqa: ARG001 - `main` looks for it
) -> None:
    """Compare two runs case by case: differences B - A, bootstrap interval, Wilcoxon p, and what changed most."""
    from evaluation.decisions.compare import compare as paired
    from evaluation.decisions.compare import comparison_document, comparison_markdown, render_comparison

    _refuse_same([a, b])
    reports = [_score(run, labels, protocol, jobs, missing) for run in (a, b)]
    name_a, name_b = _names([a, b])
    comparison = paired(reports[0], reports[1], (name_a, name_b))
    _write(json, markdown, comparison_document(comparison), comparison_markdown(comparison))
    show(render_comparison(comparison))
    _finish([(name_a, reports[0]), (name_b, reports[1])])


@app.command()
def rank(
    submissions: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Submissions: folders or zip files.", show_default=False)
    ],
    labels: Labels,
    *,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    jobs: JobsOption = 1,
    missing: MissingOption = Missing.error,
    debug: DebugOption = False,  # noqa: ARG001 - `main` looks for it
) -> None:
    """Rank submissions as KiTS21 and KiTS23 do, and say how stable each rank is under other draws of cases."""
    from evaluation.decisions.rank import rank as ranked
    from evaluation.decisions.rank import ranking_document, ranking_markdown, render_ranking

    if len(submissions) < 2:
        raise InputError(f"{len(submissions)} submissions", fix="give two or more folders, then LABELS")
    _refuse_same(submissions)
    names = _names(submissions)
    reports = [_score(submission, labels, ProtocolName.kits23, jobs, missing) for submission in submissions]
    ranking = ranked(dict(zip(names, reports, strict=True)))
    _write(json, markdown, ranking_document(ranking), ranking_markdown(ranking))
    show(render_ranking(ranking))
    _finish(list(zip(names, reports, strict=True)))


def main() -> int:
    """Run the command line; the exit code. A failure's message is the last line of stderr."""
    with stoppable():
        try:
            hold_streams()
            if "--quiet" in sys.argv:
                be_quiet()
            return call(app, "kits-eval", sys.argv[1:])
        except Stopped as stopped:
            note(f"error: {stopped}; nothing was written")
            return stopped.exit_code
        except Exception as error:
            if "--debug" in sys.argv:
                raise
            if isinstance(error, KitsError):
                note(f"error: {error}")
                return error.exit_code
            note(f"error: unexpected {type(error).__name__}; run again with --debug and report it")
            return KitsError.exit_code


def _score(
    predictions: Path,
    labels: Path,
    protocol: ProtocolName,
    jobs: int,
    missing: Missing,
    *,
    official_compat: bool = False,
) -> Report:
    from evaluation.masks.matching import match, unzipped
    from evaluation.report import named_after
    from evaluation.score import score_pairs

    with unzipped(predictions) as (folder, unusable):
        pairs: list[Pair] = match(folder, labels, unusable)
        with progress(len(pairs), predictions.name) as advance:
            report = score_pairs(
                pairs,
                protocol.value,
                jobs,
                missing=missing.value,
                official_compat=official_compat,
                debug="--debug" in sys.argv,
                on_row=advance,
            )
    return report if folder == predictions else named_after(report, folder, predictions)


def _finish(reports: list[tuple[str, Report]]) -> None:
    """Every issue as a line on stderr, failures last; exit with the code that the failed cases share."""
    from evaluation.report import told
    from kits_submit.errors import batch_exit_code

    lines = [(failed, f"{name}{': ' if name else ''}{line}") for name, r in reports for failed, line in told(r.issues)]
    for failed, line in sorted(lines, key=lambda item: item[0]):
        note(f"{'error' if failed else 'note'}: {line}")
    code = batch_exit_code(report.exit_code for _, report in reports if report.exit_code)
    if code:
        raise typer.Exit(code)


def _write(json: Path | None, markdown: Path | None, document: dict[str, Any], text: str) -> None:
    from evaluation.tables.layout import write_document, write_text

    if json is not None:
        write_document(document, json)
    if markdown is not None:
        write_text(markdown, text)


def _names(sources: list[Path]) -> list[str]:
    """The folders' names, or their whole paths where two share a name."""
    names = [source.name or str(source) for source in sources]
    return names if len(set(names)) == len(names) else [str(source) for source in sources]


def _refuse_same(sources: list[Path]) -> None:
    for number, first in enumerate(sources):
        for second in sources[number + 1 :]:
            if first.exists() and second.exists() and first.samefile(second):
                raise InputError("given twice", fix="give two different runs", path=second)


if __name__ == "__main__":
    sys.exit(main())
