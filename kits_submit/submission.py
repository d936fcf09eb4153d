"""What a run leaves behind: masks under the challenge's names, and the run's manifest."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kits_submit.cases import prediction_path
from kits_submit.errors import OutputError
from kits_submit.nifti import replacing
from kits_submit.types import Labels
from kits_submit.volume import Grid, write_labels

MANIFEST = "run.json"
SUMMARIES = (MANIFEST, "scores.csv", "scores.json")


def write_prediction(folder: Path, case_id: str, labels: Labels, grid: Grid) -> Path:
    """Write ZYX labels on the source grid, at `kits_submit.cases.prediction_path` below `folder`.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = folder / prediction_path(case_id, grid.path)
    write_labels(path, labels, grid)
    return path


def prepare_output(folder: Path) -> None:
    """Make the folder and prove that a file can be written there, before an hour is spent computing.

    An earlier run's scores and manifest go, so that they cannot be read as this one's; its masks stay.

    Raises:
        OutputError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for stale in SUMMARIES:
            (folder / stale).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})", fix="give a folder that this user may write", path=folder
        ) from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON beside, then rename; NaN becomes null.

    Raises:
        OutputError: the file cannot be written.
    """
    with replacing(path) as raw:
        raw.write((json.dumps(_finite(content), indent=2) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
