"""Whether a prediction lies on the truth's grid, and if not, what probably happened to it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kits_submit.errors import GeometryError
from kits_submit.files.volume import Grid
from kits_submit.types import Affine

AFFINE_TOLERANCE = 1e-3  # of the summed |difference| of the 16 numbers, as in KiTS23's submission check

_FIX = "write the prediction with the image's own shape and affine"


def check_same_grid(prediction: Grid, truth: Grid, path: Path, *, named: str = "the truth", fix: str = _FIX) -> None:
    """Compare shape and affine as stored.

    Args:
        path: of the file that is told to differ; `named`: what it is compared with; `fix`: the remedy.

    Raises:
        GeometryError: they differ; the message holds both and the probable cause.
    """
    ours, theirs = prediction.stored_shape[:3], truth.stored_shape[:3]
    if ours != theirs:
        cause = _why_shapes_differ(prediction, truth)
        raise GeometryError(f"shape {ours} but {named} has {theirs}: probably {cause}", fix=fix, path=path)
    difference = float(np.abs(prediction.affine - truth.affine).sum())
    if not difference <= AFFINE_TOLERANCE:
        cause = _why_turned(prediction, truth) or _why_affines_differ(prediction.affine, truth.affine)
        raise GeometryError(
            f"affine {_told(prediction.affine)} but {named} has {_told(truth.affine)}: probably {cause}",
            fix=fix,
            path=path,
        )


def _why_shapes_differ(prediction: Grid, truth: Grid) -> str:
    ours, theirs = prediction.stored_shape[:3], truth.stored_shape[:3]
    if (turned := _why_turned(prediction, truth)) is not None:
        return turned
    if ours == theirs[::-1]:
        return "the axes were reversed (SimpleITK and NumPy count them the other way round)"
    if sorted(ours) == sorted(theirs):
        return "the axes were permuted"
    if np.allclose(prediction.spacing_mm, truth.spacing_mm, rtol=1e-3):
        return "it was cropped or padded and not back, or resampled and the affine kept"
    extents = [np.sort(np.multiply(grid.shape, grid.spacing_mm)) for grid in (prediction, truth)]
    if np.allclose(extents[0], extents[1], rtol=0.02, atol=max(prediction.spacing_mm + truth.spacing_mm)):
        return f"it was resampled ({_mm(prediction.spacing_mm)} mm, truth {_mm(truth.spacing_mm)} mm) and not back"
    return "it is of another scan, or was resampled and cropped"


def _why_turned(prediction: Grid, truth: Grid) -> str | None:
    """Both hold the same voxels in the same places, but with their axes in another order or direction."""
    if prediction.shape != truth.shape or prediction.orientation == truth.orientation:
        return None
    corners = []
    for grid in (prediction, truth):
        ends = np.array(list(product(*((0, n - 1) for n in grid.stored_shape[:3]))))
        corners.append(np.array(sorted((ends @ grid.affine[:3, :3].T + grid.affine[:3, 3]).round(2).tolist())))
    if not np.allclose(corners[0], corners[1], atol=0.02):
        return None
    return f"its axes were turned to {prediction.orientation} (the truth's are {truth.orientation}) and not back"


def _why_affines_differ(prediction: Affine, truth: Affine) -> str:
    ours, theirs = prediction[:3, :3], truth[:3, :3]
    if np.allclose(np.abs(ours), np.eye(3)) and not np.allclose(np.abs(theirs), np.eye(3)):
        return "the affine was lost (an identity was written)"
    diagonal = np.diag(np.diag(ours))
    if np.allclose(ours, diagonal) and not np.allclose(theirs, np.diag(np.diag(theirs))):
        order = _why_spacings_differ(np.abs(np.diag(ours)), np.linalg.norm(theirs, axis=0))
        return f"the orientation was lost (a diagonal affine was written){f', and {order}' if order else ''}"
    our_mm, their_mm = np.linalg.norm(ours, axis=0), np.linalg.norm(theirs, axis=0)
    if (cause := _why_spacings_differ(our_mm, their_mm)) is not None:
        return cause
    if np.allclose(ours, theirs, atol=1e-3):
        return f"the origin was moved by {_mm(prediction[:3, 3] - truth[:3, 3])} mm"
    return _why_directions_differ(ours, theirs)


def _why_directions_differ(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> str:
    if np.allclose(np.abs(ours), np.abs(theirs), atol=1e-3):
        return _why_flipped(ours, theirs)
    if np.allclose(np.sort(np.abs(ours), axis=1), np.sort(np.abs(theirs), axis=1), atol=1e-3):
        return "the axes were permuted"
    return "it was rotated"


def _why_spacings_differ(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> str | None:
    if np.allclose(ours, theirs, rtol=1e-3):
        return None
    if np.allclose(ours, theirs[::-1], rtol=1e-3):
        return "the spacing was written in reverse order"
    if np.allclose(np.sort(ours), np.sort(theirs), rtol=1e-3):
        return "the spacing was written in another order"
    return f"it was resampled or its spacing is wrong ({_mm(ours)} mm, truth {_mm(theirs)} mm)"


def _why_flipped(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> str:
    if np.allclose(ours, np.diag([-1.0, -1.0, 1.0]) @ theirs, atol=1e-3):
        return "LPS and RAS were mixed up (the first two rows have the other sign)"
    flipped = [str(axis) for axis in range(3) if not np.allclose(ours[:, axis], theirs[:, axis], atol=1e-3)]
    return f"axis {', '.join(flipped)} was flipped" if len(flipped) == 1 else f"axes {', '.join(flipped)} were flipped"


def _told(affine: Affine) -> str:
    """The upper three rows, short: `[0 0 -0.86 0; 0 -0.86 0 0; -1 0 0 0]`."""
    return "[" + "; ".join(" ".join(f"{value + 0.0:.6g}" for value in row) for row in affine[:3]) + "]"


def _mm(values: npt.ArrayLike) -> str:
    return " x ".join(f"{value:.4g}" for value in np.asarray(values, np.float64))
