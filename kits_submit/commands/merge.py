"""`kits-submit merge`: one record and one set of scores of a run that was done in shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evaluation.report import Report
    from kits_submit.batch.merge import Record


def merge_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="OUT...", help="Folders that `run --shard` wrote into.", show_default=False)
    ],
    *,
    into: Annotated[
        Path | None, typer.Option(help="Folder for masks and tables. Default: OUT, where it is one.")
    ] = None,
) -> None:
    """Put the shards of a run together: run.json, and scores as the whole run would have written them.

    The exit code is the whole run's. Masks of several folders are linked into --into, or copied.
    """
    from evaluation.tables.table import render
    from kits_submit.batch.merge import records
    from kits_submit.console import close, show
    from kits_submit.errors import UsageError
    from kits_submit.files.remote.reach import Reach

    if into is None and len(folders) > 1:
        raise UsageError(f"{len(folders)} folders, and no --into", fix="say where the whole goes: --into DIR")
    with Reach() as reach:
        target = reach.write(into or folders[0])
        parts = records([target] if into is None else [reach.records(folder) for folder in folders])
        document, report = _put_together(parts, target)
    show(None if report is None else render(report))
    failures = [(f"{e['case']}: {e['error']}", e["exit_code"]) for e in document["cases"] if e["error"]]
    issues = [] if report is None else [(i.message, i.exit_code) for i in report.issues if i.exit_code]
    if document["exit_code"]:
        close([*failures, *issues], len(document["cases"]))
    raise typer.Exit(document["exit_code"])


def _put_together(parts: Sequence[Record], target: Path) -> tuple[dict[str, Any], Report | None]:
    """Write masks, scores and `run.json` of the whole."""
    from evaluation.tables.rows import merged_report
    from evaluation.tables.table import write_csv, write_json
    from kits_submit import atomic
    from kits_submit.batch.merge import bring_together, merged
    from kits_submit.files.output import MANIFEST, SCORES, output_folder

    with output_folder(target):
        bring_together(parts, target)
        files = [path for part in parts if (path := part.file(SCORES[1])) is not None]
        report = merged_report(files) if files else None
        if report is not None:
            for name, write in zip(SCORES, (write_csv, write_json), strict=True):
                write(report, target / name)
        document = merged(parts, SCORES if files else ())
        atomic.write_json(target / MANIFEST, document)
    return document, report
