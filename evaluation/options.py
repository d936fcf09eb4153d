"""The options of `kits-eval`, shared by its commands. Loads nothing, so that `--help` is fast."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


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


_LABELS = "True label maps: a folder in any KiTS layout, or one file."
PREDICTIONS = "Predicted label maps: a folder in any KiTS layout, predictions.zip, or one file."
_MISSING = "A case without prediction: an error, all background (KiTS19's rule), or left out."
_ALSO = "Measure this, too: iou, hd100, sd@MM, hd95-monai, hd95-medpy, assd-medpy, cyst. May be repeated."
_FAIL = "Exit with code 12 if the mean of KEY is worse than VALUE. May be repeated."
_COLUMNS = "Show these measures: names or patterns, tumor_*,mass_dice."
_COMPAT = "Reproduce the official code's numbers, traps included."


def _file(name: str, about: str) -> object:
    return typer.Option(name, help=about, show_default=False)


PredictionsArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="PREDICTIONS", help=PREDICTIONS, show_default=False)
]
LabelsArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="LABELS", help=_LABELS, show_default=False)]
ProtocolOption: TypeAlias = Annotated[ProtocolName, typer.Option(help="What to measure.")]
MissingOption: TypeAlias = Annotated[Missing, typer.Option(help=_MISSING)]
JobsOption: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Cases at a time, in processes; fewer where memory is short.")
]
ClusterOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Score on a Ray cluster: HOST:PORT of its head, or auto on one of its nodes."),
]
CompatOption: TypeAlias = Annotated[bool, typer.Option("--official-compat", help=_COMPAT)]
CsvOption: TypeAlias = Annotated[Path | None, _file("--csv", "Write a row a case.")]
JsonOption: TypeAlias = Annotated[Path | None, _file("--json", "Write everything as JSON.")]
MarkdownOption: TypeAlias = Annotated[Path | None, _file("--markdown", "Write tables to paste.")]
HtmlOption: TypeAlias = Annotated[Path | None, _file("--html", "Write a page to look at.")]
LesionsOption: TypeAlias = Annotated[Path | None, _file("--lesions", "Write a row a lesion, as CSV.")]
VolumesOption: TypeAlias = Annotated[Path | None, _file("--volumes", "Write true and predicted mL, as CSV.")]
LesionIouOption: TypeAlias = Annotated[float, typer.Option(help="Least IoU of two lesions that match.")]
LesionMlOption: TypeAlias = Annotated[float, typer.Option(help="Smaller components are no lesions.")]
AlsoOption: TypeAlias = Annotated[list[str] | None, typer.Option(metavar="MEASURE", help=_ALSO, show_default=False)]
ByOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE:COLUMN",
        help="Tables by a column of a CSV or of kits.json; FILE:COLUMN@4,7 cuts numbers there. May be repeated.",
        show_default=False,
    ),
]
FailOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--fail-under", metavar="KEY=VALUE", help=_FAIL, show_default=False)
]
ColumnsOption: TypeAlias = Annotated[str, typer.Option(metavar="KEYS", help=_COLUMNS, show_default=False)]
WideOption: TypeAlias = Annotated[bool, typer.Option("--wide", help="All columns beside each other.")]
DebugOption: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show where a failure happened.")]
