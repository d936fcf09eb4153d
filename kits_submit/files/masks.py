"""Masks under the challenge's names, on the input's exact grid."""

from __future__ import annotations

from pathlib import Path

from kits_submit.files.cases import prediction_path
from kits_submit.files.volume import Grid, write_labels
from kits_submit.types import Labels


def write_prediction(folder: Path, case_id: str, labels: Labels, grid: Grid) -> Path:
    """Write ZYX labels on the source grid, at `kits_submit.files.cases.prediction_path` below `folder`.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = folder / prediction_path(case_id, grid.path)
    write_labels(path, labels, grid)
    return path
