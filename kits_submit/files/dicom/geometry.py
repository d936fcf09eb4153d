"""The grid that a series' slices make: ordered by position along the normal, refused where they make none.

A gantry's tilt shears the stack (slices advance along the table, not along their normal). It is undone by moving each
plane along its columns, so every source slice stays a slice of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kits_submit.errors import GeometryError
from kits_submit.files.dicom.headers import Slice
from kits_submit.types import Affine

Vector = npt.NDArray[np.float64]
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_MM = 1e-2  # positions are decimal strings, written with two digits or more
_UNEVEN = 0.02  # of a step: what rounding of positions to 0.01 mm makes of steps of 0.5 mm
_SAME_DIRECTION = 1e-3
_LEAST_SLICES = 2
_LEAST_TILT_DEGREES = 0.1


@dataclass(frozen=True)
class Layout:
    """A stack: slices in the order of the grid's third stored axis.

    - `affine`: 4x4, (column, row, slice) to mm in RAS+, of the stack with its tilt undone.
    - `source_affine`: the same of the slices as they are; equal where there is no tilt.
    - `shifts`: rows by which each slice lies further down in the grid than in itself; zeros without a tilt.
    - `rows`: of the grid, those that the shifts need included.
    - `tilt_degrees`, `repeated`: the tilt, and how many files held an instance once more.
    """

    slices: tuple[Slice, ...]
    affine: Affine
    source_affine: Affine
    shifts: tuple[float, ...]
    rows: int
    tilt_degrees: float
    repeated: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices of the grid."""
        return self.slices[0].shape[1], self.rows, len(self.slices)


def lay_out(found: Sequence[Slice]) -> Layout:
    """Order slices into a stack.

    Raises:
        GeometryError: they make no stack: one too few, a gap, two at one place, mixed sizes or directions.
    """
    slices = list({(s.uid, s.frame): s for s in found}.values())
    _refuse_incomplete(slices)
    _refuse_mixed(slices)
    normal = slices[0].normal
    slices.sort(key=lambda s: float(np.dot(s.position_mm, normal)))
    depths = np.array([np.dot(s.position_mm, normal) for s in slices])
    _refuse_uneven(slices, np.diff(depths))
    first, last = (np.array(slices[k].position_mm) for k in (0, -1))
    step = (last - first) / (len(slices) - 1)
    _refuse_sideways(slices, first, step)
    return _stack(slices, step, repeated=len(found) - len(slices))


def named(one: Slice, slices: Sequence[Slice]) -> str:
    """A slice as messages call it: by place and number, never by the file's name, which may be the patient's."""
    number = "" if one.number is None else f", instance number {one.number}"
    where = f"{float(np.dot(one.position_mm, one.normal)):.2f} mm" if one.position_mm and one.axes else "no position"
    return f"slice {list(slices).index(one) + 1} of {len(slices)} ({where}{number})"


def _stack(slices: list[Slice], step: Vector, *, repeated: int) -> Layout:
    one = slices[0]
    along_row, along_column = np.array(one.axes[:3]), np.array(one.axes[3:])
    rows, (row_mm, column_mm) = one.shape[0], one.spacing_mm
    forward, aside = float(step @ one.normal), float(step @ along_column)
    tilt = math.degrees(math.atan2(aside, forward))
    source = _affine(along_row * column_mm, along_column * row_mm, step, np.array(one.position_mm))
    if abs(tilt) < _LEAST_TILT_DEGREES:
        return Layout(tuple(slices), source, source, (0.0,) * len(slices), rows, 0.0, repeated)
    per_slice = aside / row_mm
    added = math.ceil(abs(per_slice) * (len(slices) - 1))
    base = added if per_slice < 0 else 0
    origin = np.array(one.position_mm) - base * row_mm * along_column
    upright = _affine(along_row * column_mm, along_column * row_mm, one.normal * forward, origin)
    shifts = tuple(base + k * per_slice for k in range(len(slices)))
    return Layout(tuple(slices), upright, source, shifts, rows + added, tilt, repeated)


def _affine(along_row: Vector, along_column: Vector, step: Vector, origin: Vector) -> Affine:
    affine = np.eye(4)
    affine[:3] = np.stack([along_row, along_column, step, origin], axis=1)
    return _LPS_TO_RAS @ affine


def _refuse_incomplete(slices: list[Slice]) -> None:
    if len(slices) < _LEAST_SLICES:
        raise GeometryError("it is one slice", fix="a volume needs two slices or more")
    for one in slices:
        if not (one.position_mm and one.axes and one.spacing_mm and min(one.spacing_mm) > 0 and min(one.shape) > 0):
            number = "without a number" if one.number is None else str(one.number)
            raise GeometryError(
                f"instance {number} has no usable position, orientation, spacing or size",
                fix="export the series again, with its image plane attributes",
            )


def _refuse_mixed(slices: list[Slice]) -> None:
    shape = Counter(s.shape for s in slices).most_common(1)[0][0]
    axes = Counter(s.axes for s in slices).most_common(1)[0][0]
    spacing = Counter(s.spacing_mm for s in slices).most_common(1)[0][0]
    lengths = np.linalg.norm(np.reshape(axes, (2, 3)), axis=1)
    if not np.allclose(lengths, 1, atol=1e-2) or abs(np.dot(axes[:3], axes[3:])) > 1e-2:
        raise GeometryError(f"its directions {axes} are no two unit vectors at right angles", fix="export it again")
    for one in slices:
        if (one.shape, one.axes, one.spacing_mm) == (shape, axes, spacing):
            continue
        if one.shape != shape:
            what = f"has {one.shape[0]} x {one.shape[1]} voxels, the others {shape[0]} x {shape[1]}"
        elif not np.allclose(one.axes, axes, atol=_SAME_DIRECTION):
            what = "is turned against the others"
        elif not np.allclose(one.spacing_mm, spacing, rtol=1e-3):
            what = f"has voxels of {one.spacing_mm} mm, the others {spacing} mm"
        else:
            continue
        raise GeometryError(f"{named(one, slices)} {what}", fix="leave it out, or export the volume alone")


def _refuse_uneven(slices: list[Slice], steps: Vector) -> None:
    usual = float(np.median(steps[steps > _SAME_MM])) if (steps > _SAME_MM).any() else 0.0
    for k, step in enumerate(steps):
        if step <= _SAME_MM:
            raise GeometryError(
                f"{named(slices[k], slices)} and {named(slices[k + 1], slices)} lie at the same place",
                fix="two phases or reconstructions in one series: export each alone",
            )
        if abs(step - usual) > _UNEVEN * usual + _SAME_MM:
            missing = round(step / usual) - 1
            gap = f"{missing} missing" if missing > 0 else "uneven"
            raise GeometryError(
                f"after {named(slices[k], slices)} the next lies {step:.2f} mm on, elsewhere {usual:.2f} mm: {gap}",
                fix="export the series again, whole",
            )


def _refuse_sideways(slices: list[Slice], first: Vector, step: Vector) -> None:
    """A tilt moves slices evenly along their columns; anything else is no stack."""
    aside = abs(float(step @ np.array(slices[0].axes[:3]))) * (len(slices) - 1)
    places = first + np.arange(len(slices))[:, None] * step
    off = np.linalg.norm(places - np.array([s.position_mm for s in slices]), axis=1)
    worst = int(off.argmax())
    if off[worst] > max(0.1, _UNEVEN * float(np.linalg.norm(step))) or aside > slices[0].spacing_mm[1] / 2:
        raise GeometryError(
            f"{named(slices[worst], slices)} lies {max(off[worst], aside):.2f} mm aside of the stack",
            fix="the table or the field of view moved: export the volume alone",
        )
