"""What is odd about a volume's geometry, in words; it is read all the same. Looks at the header alone."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from kits_submit.types import Affine

if TYPE_CHECKING:
    import numpy.typing as npt

SHEARED = 1e-3  # cosine between two axes; rounding in a header makes 1e-5
OBLIQUE_DEGREES = 15.0  # beyond it a volume is resampled to the patient's axes (docs/engine.md)
_SPACING_APART = 0.01  # of the spacing


def geometry_notes(affine: Affine, header: Any) -> tuple[str, ...]:
    """A line on each of: sheared axes, axes far from the patient's, a voxel size that the header states otherwise."""
    notes = []
    shear, degrees = shear_degrees(affine), oblique_degrees(affine)
    if shear:
        notes.append(
            f"its axes are sheared by {shear:.1f} degrees (gantry tilt): volumes are exact, distances approximate"
        )
    if degrees > OBLIQUE_DEGREES:
        notes.append(
            f"its axes and the patient's differ by {degrees:.0f} degrees: the network is given it resampled to the "
            "patient's axes, and the mask is brought back"
        )
    return (*notes, *_pixdim_note(affine, header))


def cosines(affine: Affine) -> dict[tuple[int, int], float]:
    """Of the angle between each two stored axes, without sign."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return {(a, b): abs(float(axes[:, a] @ axes[:, b])) for a, b in combinations(range(3), 2)}


def shear_degrees(affine: Affine) -> float:
    """How far the two axes that are furthest from it are from a right angle; 0 where all are at one."""
    most = max(cosines(affine).values())
    return float(np.degrees(np.arcsin(min(1.0, most)))) if most > SHEARED else 0.0


def oblique_degrees(affine: Affine) -> float:
    """The angle between a stored axis and the patient's nearest to it, the largest of the three."""
    from nibabel.affines import obliquity

    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.degrees(obliquity(affine))))


def _pixdim_note(affine: Affine, header: Any) -> tuple[str, ...]:
    stated: Any = getattr(header, "structarr", None)
    if stated is None or "pixdim" not in (stated.dtype.names or ()):
        return ()
    with np.errstate(all="ignore"):
        pixdim: npt.NDArray[np.float64] = np.abs(np.asarray(stated["pixdim"][1:4], np.float64))
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if not np.isfinite(pixdim).all() or (np.abs(pixdim - lengths) <= _SPACING_APART * lengths).all():
            return ()
    told = [" x ".join(f"{mm:.4g}" for mm in values) for values in (pixdim, lengths)]
    return (f"pixdim says {told[0]} mm, the affine {told[1]} mm: the affine is taken",)
