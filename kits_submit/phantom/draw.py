"""A phantom from a seed and an index: draw the patient, the scan, then every layer from back to front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kits_submit.errors import InputError
from kits_submit.labels import CYST, KIDNEY, KITS19, TUMOR, LabelSet
from kits_submit.phantom.body import Body
from kits_submit.phantom.bowel import paint_bowel
from kits_submit.phantom.cystic import with_cysts
from kits_submit.phantom.kidneys import Kidney, draw_kidneys, paint_kidney
from kits_submit.phantom.organs import paint_heart, paint_organs, paint_vessels
from kits_submit.phantom.phases import Tissues, draw_phase, draw_tissues
from kits_submit.phantom.scanner import KITS_MATRIX, SLICE_MM, Scan, add_noise, blur_slices
from kits_submit.phantom.shapes import Canvas, Grid
from kits_submit.phantom.spine import paint_muscles, paint_spine
from kits_submit.phantom.torso import paint_torso
from kits_submit.phantom.tumors import Tumor, draw_tumors, paint_tumor
from kits_submit.phantom.variety import paint_masses, varied
from kits_submit.types import Affine, Image, Labels, Spacing

HU_RANGE = (-1024.0, 3071.0)  # 12 bits, as scanners store
_THICKEST_MM = 5.0


@dataclass(frozen=True)
class Patient:
    """Everything random about one case but the noise."""

    body: Body
    phase: str
    tissues: Tissues
    kidneys: tuple[Kidney, ...]
    tumors: tuple[Tumor, ...]
    scan: Scan
    need_mm: tuple[float, float]


@dataclass(frozen=True)
class Phantom:
    """One synthetic case.

    image: HU, whole numbers. labels: 0 background, 1 kidney, 2 tumor, and 3 cyst where it was asked for.
    spacing_mm: along Z, Y, X. phase: contrast phase, one of `phases.PHASES`.
    """

    image: Image
    labels: Labels
    spacing_mm: Spacing
    phase: str

    @property
    def affine(self) -> Affine:
        return kits_affine(self.spacing_mm)


def kits_affine(spacing_mm: Spacing) -> Affine:
    """KiTS19's: anti-diagonal, axis codes I, P, L, origin zero."""
    z, y, x = spacing_mm
    return np.array([[0, 0, -x, 0], [0, -y, 0, 0], [-z, 0, 0, 0], [0, 0, 0, 1]], np.float64)


def draw_patient(seed: int, index: int, labels: LabelSet = KITS19) -> Patient:
    """The patient and the scan of case `index`, whatever the voxels they are drawn on.

    With a set that has cysts, these are KiTS23's, by random numbers of their own: all else is as of two classes.
    """
    rng = np.random.default_rng([seed, index])
    body = Body.draw(rng)
    phase = draw_phase(rng)
    tissues = draw_tissues(rng, phase)
    kidneys = draw_kidneys(rng, body)
    if labels.cyst:
        own = np.random.default_rng([seed, index, 3])
        kidneys = tuple(with_cysts(own, kidney) for kidney in kidneys)
    tumors = draw_tumors(rng, kidneys, body, phase)
    need = _extent(kidneys, tumors)
    sides = np.array([0.0, math.pi])
    width = float(body.skin(sides, 20.0).sum())
    front, back = (float(body.skin(np.array([a]), 0.0)[0]) for a in (-math.pi / 2, math.pi / 2))
    scan = Scan.draw(rng, width, (back - front) / 2, need)
    return Patient(body, phase, tissues, kidneys, tumors, scan, need)


def draw_phantom(
    seed: int,
    index: int,
    *,
    spacing_mm: Spacing | None = None,
    matrix: int = 512,
    max_slices: int | None = None,
    labels: LabelSet = KITS19,
    any_hospital: bool = False,
) -> Phantom:
    """Draw case `index` of the set `seed`; the same arguments give the same voxels.

    Args:
        seed, index: not negative; a case does not depend on how many others are drawn.
        spacing_mm: voxel size along Z, Y, X; drawn from KiTS19's distribution where not given.
        matrix: rows and columns over the field of view (ignored where `spacing_mm` is given).
        max_slices: slices at most. Only slice distances that allow it are drawn; where 5 mm are too many,
            the range is cut, and where the kidneys alone need more, slices get thicker.
        labels: a cyst is a class of its own where the set has one, and kidney where it has none.
        any_hospital: not KiTS19's patients but any: `variety`.

    Raises:
        InputError: an argument is out of range, or `spacing_mm` leaves the kidneys more than `max_slices`.
    """
    _check(seed, index, spacing_mm, matrix, max_slices)
    _check_labels(labels)
    patient = draw_patient(seed, index, labels)
    more = np.random.default_rng([seed, index, 3]) if any_hospital else None
    patient = patient if more is None else varied(patient, more)
    grid = _grid(patient, spacing_mm, matrix, max_slices)
    canvas = Canvas(grid, np.empty(grid.shape, np.float32), np.zeros(grid.shape, np.uint8))
    _paint(canvas, patient, np.random.default_rng([seed, index, 1]), CYST if labels.cyst else KIDNEY, more)
    blur_slices(canvas.hu, grid.spacing_mm[0])
    _, y, x = grid.axes
    add_noise(canvas.hu, grid.spacing_mm, patient.scan, (y, x), np.random.default_rng([seed, index, 2]))
    np.rint(canvas.hu, out=canvas.hu)
    np.clip(canvas.hu, *HU_RANGE, out=canvas.hu)
    return Phantom(canvas.hu, canvas.labels, grid.spacing_mm, patient.phase)


def _paint(
    canvas: Canvas, patient: Patient, rng: np.random.Generator, cyst_label: int, more: np.random.Generator | None
) -> None:
    body, tissues = patient.body, patient.tissues
    paint_torso(canvas, body, tissues, rng)
    paint_muscles(canvas, body, tissues, rng)
    paint_heart(canvas, body, tissues, rng)
    paint_bowel(canvas, body, tissues, rng)
    paint_organs(canvas, body, tissues, patient.phase, rng)
    if more is not None:
        paint_masses(canvas, body, tissues, more)
    for kidney in patient.kidneys:
        paint_kidney(canvas, body, kidney, tissues, cyst_label)
    paint_vessels(canvas, body, patient.kidneys, tissues, rng)
    paint_spine(canvas, body, tissues, rng)
    for tumor in patient.tumors:
        paint_tumor(canvas, body, patient.kidneys[tumor.kidney], tumor, tissues.fat)


def _extent(kidneys: tuple[Kidney, ...], tumors: tuple[Tumor, ...]) -> tuple[float, float]:
    """Heights z between which all kidneys, cysts and tumors lie."""
    boxes = [kidney.bounds(0) for kidney in kidneys]
    boxes += [cyst.ball.bounds(0) for kidney in kidneys for cyst in kidney.cysts]
    boxes += [lump.bounds(0) for tumor in tumors for lump in tumor.lumps]
    return min(low[0] for low, _ in boxes), max(high[0] for _, high in boxes)


def _grid(patient: Patient, spacing_mm: Spacing | None, matrix: int, max_slices: int | None) -> Grid:
    scan = patient.scan
    top, bottom = scan.top_mm, scan.bottom_mm
    if spacing_mm is None:
        pixel = scan.fov_mm / matrix
        spacing_mm = (_slice_mm(patient, max_slices), pixel, pixel)
        rows = columns = matrix
    else:
        rows, columns = (max(1, math.ceil(scan.fov_mm / step - 1e-6)) for step in spacing_mm[1:])
    step = spacing_mm[0]
    slices = max(1, round((bottom - top) / step))
    if max_slices is not None and slices > max_slices:
        low, high = patient.need_mm
        if max_slices * step < high - low + step:
            need = math.ceil((high - low) / step) + 1
            raise InputError(
                f"max_slices={max_slices} does not hold the kidneys at {step:g} mm, they take {need}",
                fix="allow more slices, or give a larger spacing_mm",
            )
        spare = max_slices * step - (high - low)
        share = (low - top) / max((low - top) + (bottom - high), 1e-6)
        top, slices = low - spare * share, max_slices
    y, x = (
        middle - (count - 1) * pixel / 2
        for middle, count, pixel in zip(scan.centre_mm, (rows, columns), spacing_mm[1:], strict=True)
    )
    return Grid((top + step / 2, y, x), spacing_mm, (slices, rows, columns))


def _slice_mm(patient: Patient, max_slices: int | None) -> float:
    """The drawn slice distance; with `max_slices` too few even for 5 mm, what holds the kidneys."""
    scan = patient.scan
    if max_slices is None:
        return scan.slice_mm(list(SLICE_MM))
    allowed = [step for step in SLICE_MM if round((scan.bottom_mm - scan.top_mm) / step) <= max_slices]
    if allowed:
        return scan.slice_mm(allowed)
    low, high = patient.need_mm
    if max_slices * _THICKEST_MM >= high - low + _THICKEST_MM:
        return _THICKEST_MM
    return math.ceil(10 * (high - low) / (max_slices - 1)) / 10


def _check_labels(labels: LabelSet) -> None:
    if (labels.kidney, labels.tumor) != ((KIDNEY,), (TUMOR,)) or labels.cyst not in ((), (CYST,)):
        what = f"phantoms are labelled {KIDNEY} kidney, {TUMOR} tumor and {CYST} cyst, asked for: {labels}"
        raise InputError(what, fix="give labelled data, or use labels kits19 or kits23")


def _check(seed: int, index: int, spacing_mm: Spacing | None, matrix: int, max_slices: int | None) -> None:
    if seed < 0 or index < 0:
        raise InputError(f"seed={seed}, index={index}, neither may be negative", fix="give 0 or more")
    if not 16 <= matrix <= 4 * KITS_MATRIX:
        raise InputError(f"matrix={matrix}, allowed 16 to {4 * KITS_MATRIX}", fix="give 512 or 256")
    if max_slices is not None and max_slices < 8:
        raise InputError(f"max_slices={max_slices}, allowed 8 or more", fix="allow more slices")
    if spacing_mm is not None and not (len(spacing_mm) == 3 and all(0.2 <= s <= 20 for s in spacing_mm)):
        raise InputError(f"spacing_mm={spacing_mm}, allowed three values of 0.2 to 20 mm", fix="give mm along Z, Y, X")
