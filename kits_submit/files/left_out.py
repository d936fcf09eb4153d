"""What lies in a folder of cases and is taken for nothing: counted and named, so that nobody misses it unawares."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from kits_submit.errors import InputError, shown
from kits_submit.files.cases import Case
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.folders import enter
from kits_submit.files.names import kind, stem

_NO_IMAGE = (
    ".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".log", ".xml", ".yaml", ".yml", ".pdf", ".xlsx", ".png", ".jpg",
    ".zip", ".py", ".sh", ".onnx", ".part",
)  # fmt: skip
_OF_REPOSITORIES = ("LICENSE", "Makefile", "labelsTr", "labelsTs", "imagesTs", "imagesTr")
_SHOWN = 5


def left_out(source: Path, output: Path, cases: Sequence[Case], labels: Collection[Path]) -> str:
    """A line on what of `source` might have been meant as a case and is none; empty where there is nothing.

    Args:
        output: the folder that this program writes into.
        labels: the label maps that cases are scored against.
    """
    if source.is_file() or any(case.image and case.image.suffix == SERIES for case in cases):
        return ""  # what is no series of an export is told by `kits_submit.commands.series`
    try:
        folder = enter(source)
        entries = sorted(Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith("."))
    except (OSError, InputError):
        return ""
    if any(case.folder == folder for case in cases):
        return ""
    taken = {path for case in cases for path in (case.image, case.folder, case.label)} | set(labels)
    rest = [entry.name for entry in entries if entry not in taken and not _is_known(entry, output)]
    if not rest:
        return ""
    more = f" and {len(rest) - _SHOWN} more" if len(rest) > _SHOWN else ""
    return f"{len(rest)} in {shown(folder)} taken for no case: {', '.join(rest[:_SHOWN])}{more}"


def _is_known(entry: Path, output: Path) -> bool:
    """What nobody takes for a case: documents, masks of this program, the output folder."""
    if entry.name.lower().endswith(_NO_IMAGE) or entry.name in _OF_REPOSITORIES:
        return True
    try:
        if output.exists() and entry.samefile(output):
            return True
    except OSError:
        return False
    name = stem(entry)
    return name is not None and kind(name) == "prediction" and entry.is_file()
