"""`kits-eval`: score predictions, compare two runs, rank submissions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from evaluation.console import Stopped, note, progress, show, stoppable
from evaluation.options import (
    PREDICTIONS,
    AlsoOption,
    ByOption,
    ClusterOption,
    ColumnsOption,
    CompatOption,
    CsvOption,
    DebugOption,
    FailOption,
    HtmlOption,
    JobsOption,
    JsonOption,
    LabelsArgument,
    LesionIouOption,
    LesionMlOption,
    LesionsOption,
    MarkdownOption,
    Missing,
    MissingOption,
    PredictionsArgument,
    ProtocolName,
    ProtocolOption,
    VolumesOption,
    WideOption,
)
from kits_submit.console import be_quiet, hold_streams
from kits_submit.errors import InputError, KitsError
from kits_submit.usage import HELP_NAMES, call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.case import Settings
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


@app.command()
def score(
    predictions: PredictionsArgument,
    labels: LabelsArgument,
    *,
    protocol: ProtocolOption = ProtocolName.all,
    also: AlsoOption = None,
    by: ByOption = None,
    csv: CsvOption = None,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    lesions: LesionsOption = None,
    lesion_iou: LesionIouOption = 0.1,
    lesion_ml: LesionMlOption = 0.05,
    volumes: VolumesOption = None,
    columns: ColumnsOption = "",
    wide: WideOption = False,
    fail_under: FailOption = None,
    html: HtmlOption = None,
    jobs: JobsOption = 1,
    cluster: ClusterOption = None,
    missing: MissingOption = Missing.error,
    official_compat: CompatOption = False,
    debug: DebugOption = False,  # noqa: ARG001 - `main` looks for it
) -> None:
    """Score each case of PREDICTIONS against LABELS: geometry first, then the protocol's measures.

    Exit code 0 if every case was scored; else the kind of failure that the failed cases share (3 missing, 4 unreadable,
    5 geometry, 6 labels), 10 where they differ. The other cases' scores are written all the same. 12: a mean is worse
    than --fail-under allows.
    """
    from evaluation.case import Settings
    from evaluation.decisions.strata import stratify
    from evaluation.decisions.thresholds import read_thresholds
    from evaluation.masks.covariates import read_column
    from evaluation.measures.lesions import Rules
    from evaluation.tables.by import strata_document, strata_markdown, strata_sections
    from evaluation.tables.layout import stacked, write_document
    from evaluation.tables.table import (
        as_document,
        render,
        write_csv,
        write_lesions,
        write_markdown,
        write_volumes,
    )

    settings = Settings(
        protocol.value,
        missing.value,
        official_compat,
        debug="--debug" in sys.argv,
        also=tuple(also or ()),
        lesions=lesions is not None,
        lesion_rules=Rules(lesion_iou, lesion_ml),
    )
    shown = _patterns(columns, settings.keys)
    thresholds = read_thresholds(fail_under or (), settings.keys)
    known = [read_column(asked) for asked in by or ()]
    report = _score(predictions, labels, settings, jobs, cluster)
    strata = [stratify(report, values, column, edges) for values, column, edges in known]
    for path, write in ((csv, write_csv), (lesions, write_lesions), (volumes, write_volumes)):
        if path is not None:
            write(report, path)
    if markdown is not None:
        write_markdown(report, markdown, *(strata_markdown(found) for found in strata))
    if json is not None:
        more = {"strata": [strata_document(found) for found in strata]} if strata else {}
        write_document(as_document(report) | more, json)
    if html is not None:
        from evaluation.tables.cases_page import write_cases

        write_cases(report, html, predictions, labels, note)
    show(stacked([render(report, shown), *(s for found in strata for s in strata_sections(found, shown))]), wide=wide)
    _finish([("", report)], thresholds)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help=f"One run. {PREDICTIONS}", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other run.", show_default=False)],
    labels: LabelsArgument,
    *,
    protocol: ProtocolOption = ProtocolName.kits23,
    also: AlsoOption = None,
    csv: CsvOption = None,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    columns: ColumnsOption = "",
    wide: WideOption = False,
    fail_under: FailOption = None,
    html: HtmlOption = None,
    jobs: JobsOption = 1,
    missing: MissingOption = Missing.error,
    official_compat: CompatOption = False,
    debug: DebugOption = False,  # noqa: ARG001 - `main` looks for it
) -> None:
    """Compare two runs case by case: mean differences B - A, their intervals, p for all measures together, verdicts.

    --fail-under is asked of B.
    """
    from evaluation.case import Settings
    from evaluation.decisions.compare import compare as paired
    from evaluation.decisions.thresholds import read_thresholds
    from evaluation.tables.comparison import (
        comparison_document,
        comparison_markdown,
        render_comparison,
        write_comparison_csv,
    )

    settings = Settings(
        protocol.value, missing.value, official_compat, debug="--debug" in sys.argv, also=tuple(also or ())
    )
    shown = _patterns(columns, settings.keys)
    thresholds = read_thresholds(fail_under or (), settings.keys)
    reports = [_score(run, labels, settings, jobs) for run in (a, b)]
    name_a, name_b = _names([a, b])
    comparison = paired(reports[0], reports[1], (name_a, name_b))
    if csv is not None:
        write_comparison_csv(comparison, csv)
    _write(json, markdown, comparison_document(comparison), comparison_markdown(comparison))
    if html is not None:
        from evaluation.tables.page import write_comparison

        write_comparison(comparison, html)
    show(render_comparison(comparison, shown), wide=wide)
    _finish([(name_a, reports[0]), (name_b, reports[1])], thresholds)


@app.command()
def rank(
    submissions: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Submissions: folders or zip files.", show_default=False)
    ],
    labels: LabelsArgument,
    *,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    wide: WideOption = False,
    html: HtmlOption = None,
    jobs: JobsOption = 1,
    missing: MissingOption = Missing.error,
    official_compat: CompatOption = False,
    debug: DebugOption = False,  # noqa: ARG001 - `main` looks for it
) -> None:
    """Rank submissions as KiTS21 and KiTS23 do, how stable each rank is, and who is significantly better than whom."""
    from evaluation.case import Settings
    from evaluation.decisions.rank import rank as ranked
    from evaluation.tables.ranking import ranking_document, ranking_markdown, render_ranking

    if len(submissions) < 2:
        raise InputError(f"{len(submissions)} submissions", fix="give two or more folders, then LABELS")
    _refuse_same(submissions)
    names = _names(submissions)
    settings = Settings("kits23", missing.value, official_compat, debug="--debug" in sys.argv)
    reports = [_score(submission, labels, settings, jobs) for submission in submissions]
    ranking = ranked(dict(zip(names, reports, strict=True)))
    _write(json, markdown, ranking_document(ranking), ranking_markdown(ranking))
    if html is not None:
        from evaluation.tables.page import write_ranking

        write_ranking(ranking, html)
    show(render_ranking(ranking), wide=wide)
    _finish(list(zip(names, reports, strict=True)))


@app.command()
def raters(
    predictions: PredictionsArgument,
    labels: LabelsArgument,
    *,
    json: JsonOption = None,
    markdown: MarkdownOption = None,
    debug: DebugOption = False,  # noqa: ARG001 - `main` looks for it
) -> None:
    """Compare predictions with each annotator (rater_1, ..) and their majority; their agreement is the line to beat."""
    from evaluation import raters as several
    from evaluation.masks.matching import match, unzipped

    with unzipped(predictions) as (folder, unusable):
        found = list(several.compare_raters(match(folder, labels, unusable)))
    _write(json, markdown, several.document(found), several.markdown(found))
    show(several.render(found))


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


def _score(predictions: Path, labels: Path, settings: Settings, jobs: int, cluster: str | None = None) -> Report:
    from evaluation.cohort import score_settings
    from evaluation.masks.matching import match, unzipped
    from evaluation.report import named_after
    from kits_submit.files.remote.reach import Reach

    with (
        Reach() as reach,
        unzipped(reach.fetch(predictions) if predictions.suffix == ".zip" else reach.read(predictions)) as unpacked,
    ):
        folder, unusable = unpacked
        pairs: list[Pair] = match(folder, reach.read(labels), unusable)
        with progress(len(pairs), predictions.name) as advance:
            report = score_settings(settings, pairs, jobs, on_row=advance, cluster=cluster)
    return report if folder == predictions else named_after(report, folder, predictions)


def _patterns(columns: str, keys: Sequence[str]) -> tuple[str, ...]:
    """The keys that `--columns` names; nothing where it is not given."""
    from evaluation.tables.layout import chosen

    patterns = [pattern.strip() for pattern in columns.split(",") if pattern.strip()]
    return chosen(keys, patterns) if patterns else ()


def _finish(reports: list[tuple[str, Report]], thresholds: Mapping[str, float] | None = None) -> None:
    """Every issue on stderr, failures last; exit with the code that the failed cases share, else by the thresholds."""
    from evaluation.decisions.thresholds import check_thresholds
    from evaluation.report import told
    from kits_submit.errors import batch_exit_code

    lines = [(failed, f"{name}{': ' if name else ''}{line}") for name, r in reports for failed, line in told(r.issues)]
    for failed, line in sorted(lines, key=lambda item: item[0]):
        note(f"{'error' if failed else 'note'}: {line}")
    code = batch_exit_code(report.exit_code for _, report in reports if report.exit_code)
    if code:
        raise typer.Exit(code)
    check_thresholds(reports[-1][1], thresholds or {})


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
