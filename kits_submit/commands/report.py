"""`kits-submit report`: a run's folder, or a training's, as one page to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kits_submit.errors import InputError, first_line
from kits_submit.places import DEFAULT_MODEL

if TYPE_CHECKING:
    from kits_submit.labels import LabelSet
    from kits_submit.report.page.build import CaseFiles
    from kits_submit.report.page.cohort import Scores
    from kits_submit.report.page.page import CasePages
    from kits_submit.report.scene import Scene


def report_command(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder of a run, or of a training.")],
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the scans. Default: those beside the labels, else none are shown.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder of label maps. Default: those beside the images.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: report.html in OUTPUT.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Score again: paper, kits19, kits23 or all. Default: scores.json, else paper.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Full resolution, in a page a case beside the report: tens of MB each.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Of a training: write it again as it goes on, until Ctrl-C.")
    ] = False,
) -> None:
    """Write one self-contained page of a run: a table to sort, plots, pictures, and a viewer with the scans in it.

    Opens from disk, asks no network for anything. Where it would pass 30 MB, cases are pages in a folder beside it.
    """
    from kits_submit.console import say
    from kits_submit.report.page.training import is_training, watch_training, write_training

    target = out or output / "report.html"
    if not output.is_dir():
        raise InputError("no such folder", fix="give a folder that `kits-submit run` or `train` wrote", path=output)
    if is_training(output):
        if watch:
            say(f"report: {target}, written again as the training goes on; Ctrl-C ends it")
            watch_training(output, target)
        write_training(output, target)
    else:
        _report_run(output, target, images, labels, protocol, full=full)
    say(f"report: {target}")


def report_of(
    output: Path,
    out: Path,
    run: Mapping[str, Any],
    files: list[CaseFiles],
    *,
    labels: LabelSet,
    scores: Mapping[str, Any] | None,
    model: Path | None = None,
    command: str = "",
    full: bool = False,
    on_scene: Callable[[Scene], None] | None = None,
) -> CasePages:
    """Write the page of a run.

    Args:
        run: its `run.json`, empty where there is none.

    Raises:
        OutputError: it cannot be written.
    """
    from evaluation.tables.page import page_scores
    from kits_submit.console import say
    from kits_submit.report.page.build import Request, build_report
    from kits_submit.report.page.cohort import Scores as NoScores
    from kits_submit.report.page.making import making_html

    found: Scores = NoScores() if not scores else page_scores(scores)
    return build_report(
        Request(
            title=f"kits-submit: {output.resolve().name}",
            out=out,
            files=files,
            labels=labels,
            scores=found,
            entries={entry["case"]: entry for entry in run.get("cases") or ()},
            made=making_html(run, model, command),
            full=full,
            hu_offset=float(run.get("hu_offset") or 0.0),
            on_scene=on_scene or (lambda _: None),
            tell=say,
        )
    )


def read_json(path: Path) -> dict[str, Any]:
    """An object out of a file; empty where the file is not there.

    Raises:
        InputError: there is something else in it.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"not JSON ({error})", fix="run the cases again", path=path) from None
    if not isinstance(content, dict):
        raise InputError("not a JSON object", fix="run the cases again", path=path)
    return content


def _report_run(
    output: Path, out: Path, images: Path | None, labels: Path | None, protocol: str | None, *, full: bool
) -> None:
    from evaluation.cohort import score_pairs
    from evaluation.tables.table import as_document
    from kits_submit.files.output import MANIFEST, SCORES

    run = read_json(output / MANIFEST)
    scores: Mapping[str, Any] = read_json(output / SCORES[1])
    try:
        files = _files(output, run, images, labels)
        pairs = [(one.case, one.prediction, one.label) for one in files if one.prediction and one.label]
        if pairs and (protocol is not None or not scores):
            scores = as_document(score_pairs(pairs, protocol or "paper"))
        report_of(output, out, run, files, labels=_labels(run), scores=scores, model=_model(run), full=full)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # of what JSON holds, anything
        what = f"run.json or scores.json holds what no run writes ({type(error).__name__}: {first_line(error)})"
        raise InputError(what, fix="run the cases again", path=output) from error


def _files(output: Path, run: Mapping[str, Any], images: Path | None, labels: Path | None) -> list[CaseFiles]:
    """Each case that the run tells of, or that has a mask in its folder."""
    from kits_submit.files.cases import find_cases, find_masks
    from kits_submit.report.page.build import CaseFiles

    told = {str(entry["case"]): entry.get("prediction") for entry in run.get("cases") or ()}
    masks = {case: path for case, name in told.items() if (path := _mask(output, name)) is not None}
    if not told:
        masks = dict(find_masks(output))
        told = dict.fromkeys(masks)
    scans = {} if images is None else {case.case_id: case for case in find_cases(images)}
    truths = {} if labels is None else find_masks(labels)
    if images is None and labels is not None:
        scans = _beside(labels)
    return [
        CaseFiles(
            case,
            masks.get(case),
            scans[case].image if case in scans else None,
            truths.get(case) or (scans[case].label if case in scans and labels is None else None),
        )
        for case in told
    ]


def _mask(output: Path, name: str | None) -> Path | None:
    """A mask of the run, where it lies; a Grand Challenge run has a folder for them."""
    from kits_submit.files.folders import GRAND_CHALLENGE_MASKS

    if not name:
        return None
    return next((path for path in (output / name, output / GRAND_CHALLENGE_MASKS / name) if path.is_file()), None)


def _beside(labels: Path) -> dict[str, Any]:
    """The scans in a folder of labels, where there are any."""
    from kits_submit.files.cases import find_cases

    try:
        return {case.case_id: case for case in find_cases(labels)}
    except InputError:
        return {}


def _labels(run: Mapping[str, Any]) -> LabelSet:
    from kits_submit.labels import KITS23, LabelSet

    document = ((run.get("model") or {}).get("recipe") or {}).get("labels")
    try:
        return LabelSet.from_document(document) if document else KITS23
    except ValueError as error:
        raise InputError(f"run.json has labels {error}", fix="run the cases again") from None


def _model(run: Mapping[str, Any]) -> Path | None:
    """The shipped model, where it is the one that was run: its card is told."""
    import hashlib

    if not DEFAULT_MODEL.is_file():
        return None
    same = hashlib.sha256(DEFAULT_MODEL.read_bytes()).hexdigest() == (run.get("model") or {}).get("sha256")
    return DEFAULT_MODEL if same else None
