"""Read two label maps for scoring: headers first, then both at once, each in its file's own order of voxels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evaluation.masks.geometry import check_same_grid
from evaluation.masks.pair import MaskPair
from kits_submit.files.volume import read_grid, read_labels


def read_pair(prediction: Path | None, truth: Path) -> MaskPair:
    """Both masks, on one grid, with the truth's spacing. Nothing is decompressed before the grids are known to agree.

    Raises:
        VolumeError, LabelError: as `volume.read_labels`.
        GeometryError: the prediction lies on another grid.
    """
    grid = read_grid(truth)
    if prediction is None:
        return MaskPair.of(None, read_labels(truth).voxels, grid.box_mm)
    check_same_grid(read_grid(prediction), grid, prediction)
    with ThreadPoolExecutor(1) as other:  # gunzip runs outside Python's lock
        waiting = other.submit(read_labels, prediction)
        true = read_labels(truth).voxels
        return MaskPair.of(waiting.result().voxels, true, grid.box_mm)
