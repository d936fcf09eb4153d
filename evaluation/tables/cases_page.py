"""A scoring as a page: its cases looked at, with the scans that lie beside the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation.masks.matching import match, unzipped
from evaluation.report import Report
from evaluation.tables.page import page_scores
from evaluation.tables.table import as_document
from kits_submit.errors import InputError
from kits_submit.files.cases import find_cases
from kits_submit.labels import KITS19, KITS23
from kits_submit.report.page.build import CaseFiles, Request, build_report

_TWO_CLASSES = ("paper", "kits19")  # protocols whose predictions hold kidney and tumor alone


def write_cases(report: Report, out: Path, predictions: Path, labels: Path, tell: Callable[[str], None]) -> None:
    """Write the page.

    Args:
        tell: told each case that cannot be shown, in a line.

    Raises:
        OutputError: it cannot be written.
    """
    scans = _scans(labels)
    with unzipped(predictions) as (folder, unusable):
        sides = {
            case: (prediction if isinstance(prediction, Path) else None, truth if isinstance(truth, Path) else None)
            for case, prediction, truth in match(folder, labels, unusable)
        }
        files = [
            CaseFiles(row.case, sides[row.case][0], scans.get(row.case), sides[row.case][1]) for row in report.rows
        ]
        build_report(
            Request(
                title=f"kits-eval: {predictions.name or predictions.resolve().name}",
                out=out,
                files=files,
                labels=KITS19 if report.protocol in _TWO_CLASSES else KITS23,
                scores=page_scores(as_document(report)),
                tell=tell,
            )
        )


def _scans(labels: Path) -> dict[str, Path]:
    """The images in a folder of labels, where there are any; a label named like an image is none."""
    if not labels.is_dir():
        return {}
    try:
        cases = find_cases(labels)
    except InputError:
        return {}
    return {case.case_id: case.image for case in cases if case.image is not None and case.label is not None}
