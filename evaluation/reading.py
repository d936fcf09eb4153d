"""Read two label maps for scoring: headers first, then both at once, each in its file's own order of voxels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from evaluation.boxes import MaskPair
from evaluation.geometry import check_same_grid
from kits_submit.errors import LabelError
from kits_submit.nifti import open_nifti
from kits_submit.types import Array, Labels
from kits_submit.volume import Grid, read_grid


def read_pair(prediction: Path | None, truth: Path) -> MaskPair:
    """Both masks, on one grid, with the truth's spacing. Nothing is decompressed before the grids are known to agree.

    Raises:
        VolumeError, LabelError: as `volume.read_labels`.
        GeometryError: the prediction lies on another grid.
    """
    grid = read_grid(truth)
    if prediction is None:
        return MaskPair.of(None, _read_stored(truth, grid), grid.spacing_mm)
    our_grid = read_grid(prediction)
    check_same_grid(our_grid, grid, prediction)
    with ThreadPoolExecutor(1) as other:  # gunzip runs outside Python's lock
        waiting = other.submit(_read_stored, prediction, our_grid)
        true = _read_stored(truth, grid)
        return MaskPair.of(waiting.result(), true, grid.spacing_mm)


def _read_stored(path: Path, grid: Grid) -> Labels:
    """`volume.read_labels`'s voxels as a Z, Y, X view of memory in the file's order: turning the array itself takes
    three times as long as decompressing it, and scoring does not care for the order in memory."""
    stored = np.empty(grid.stored_shape[:3], np.uint8, order="F")
    with open_nifti(path) as nifti:
        for part, chunk in nifti.chunks():
            stored[:, :, part] = _as_labels(chunk, nifti.scaling, path)
    return grid.canonical_view(stored)


def _as_labels(chunk: Array, scaling: tuple[float, float] | None, path: Path) -> Array:
    if chunk.dtype == np.uint8 and scaling is None:
        return chunk
    values = chunk if scaling is None else chunk * scaling[0] + scaling[1]
    with np.errstate(invalid="ignore"):
        labels = values.astype(np.uint8)
    wrong = values != labels
    if wrong.any():
        raise LabelError(
            f"{int(wrong.sum())} or more voxels are no label (first: {values[wrong][0]})",
            fix="label maps hold whole numbers from 0 to 255",
            path=path,
        )
    return labels
