"""A CT around a label map: an abdomen whose kidneys, tumors and cysts are where, and as large as, somebody drew them.

The body is drawn as a phantom's is and fitted to the labels: its axis between the kidneys, its back wall behind them,
its girth grown until all that is labelled lies inside. Organs, vessels, bowel and bones are the phantom's; what is
labelled is painted over them, cortex by depth below its surface, tumors and cysts by their tissue. For rehearsals at a
data set's true geometry: labels under somebody's licence stay under it, and so does what is drawn around them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects

from kits_submit.errors import LabelError
from kits_submit.labels import KITS23, volume_ml
from kits_submit.phantom.body import Body
from kits_submit.phantom.bowel import paint_bowel
from kits_submit.phantom.draw import HU_RANGE
from kits_submit.phantom.kidneys import Kidney, draw_kidneys
from kits_submit.phantom.organs import paint_heart, paint_organs, paint_vessels
from kits_submit.phantom.phases import Tissues, draw_phase, draw_tissues
from kits_submit.phantom.scanner import Scan, add_noise, blur_slices
from kits_submit.phantom.shapes import Box, Canvas, Ellipsoid, Grid, Point, Waves
from kits_submit.phantom.spine import paint_muscles, paint_spine
from kits_submit.phantom.torso import paint_torso
from kits_submit.phantom.tumors import draw_tissue, tissue_hu
from kits_submit.types import Array, Image, Labels, Mask, Spacing

_ORGAN_ML = 20.0  # a smaller component says nothing of where a kidney lies
_INSIDE_MM = 5.0  # of the cavity's wall, at least
_MEDIAL_MM = 12.0  # of the midline, a kidney's inner edge at least
_SAMPLED = 4000
_MOVES, _STEPS = 20, 70  # forwards by 2 mm each, then wider or deeper by 2 %
_RIM_MM = 3.0


@dataclass(frozen=True)
class Placed:
    """Where labels lie in a body.

    - `first_mm`: the body frame's point at the first voxel.
    - `kidneys`: side (-1 the patient's right) and middle of each.
    """

    body: Body
    first_mm: Point
    kidneys: tuple[tuple[int, Point], ...]


def draw_around(labels: Labels, spacing_mm: Spacing, seed: tuple[int, ...], phase: str | None = None) -> Image:
    """HU of a CT in which `labels` (Z, Y, X; 1 kidney, 2 tumor, 3 cyst) are the truth, float32 whole numbers.

    Args:
        seed: equal seeds, labels and phases give equal voxels.
        phase: one of `phases.PHASES`; None draws one as often as KiTS has it.

    Raises:
        LabelError: no kidney, or a label above 3.
    """
    if int(labels.max()) >= len(KITS23):
        raise LabelError(f"a label is {int(labels.max())}, allowed: {KITS23}", fix="map it first")
    rng = np.random.default_rng([*seed, 0])
    body = Body.draw(rng)
    drawn = draw_phase(rng)
    phase = phase or drawn
    tissues = draw_tissues(rng, phase)
    placed = fit(body, labels, spacing_mm)
    grid = Grid(placed.first_mm, spacing_mm, (labels.shape[0], labels.shape[1], labels.shape[2]))
    canvas = Canvas(grid, np.empty(grid.shape, np.float32), labels)
    kidneys = _kidneys(rng, placed)
    _paint_surroundings(canvas, placed.body, kidneys, tissues, phase, np.random.default_rng([*seed, 1]))
    _paint_labelled(canvas, placed.body, tissues, phase, np.random.default_rng([*seed, 2]))
    blur_slices(canvas.hu, spacing_mm[0])
    _, y, x = grid.axes
    scan = Scan.draw(rng, 2 * placed.body.half_width, 0.0, (-60.0, 60.0))
    add_noise(canvas.hu, spacing_mm, scan, (y, x), np.random.default_rng([*seed, 3]))
    np.rint(canvas.hu, out=canvas.hu)
    return np.clip(canvas.hu, *HU_RANGE, out=canvas.hu)


def fit(body: Body, labels: Labels, spacing_mm: Spacing) -> Placed:
    """The body moved and grown until the labelled organs lie inside its cavity, beside its spine.

    Kidneys are moved forwards off the back wall first, as a phantom's are, and what still sticks out makes the body
    wider or deeper.

    Raises:
        LabelError: no kidney.
    """
    points = _places(labels > 0, spacing_mm)
    middles = _middles(labels, spacing_mm)
    if not middles:
        raise LabelError("no kidney in it", fix="give a label map with one")
    z = float(np.mean([middle[0] for middle in middles]))
    y = float(np.quantile(points[:, 1], 0.98)) - (body.back - _INSIDE_MM)
    x = _midline(middles, points, labels.shape[2] * spacing_mm[2] / 2)
    for step in range(_STEPS):
        own = points - (z, y, x)
        beyond = body.outside(own)
        worst = int(beyond.argmax())
        if beyond[worst] < -_INSIDE_MM:
            break
        if own[worst, 1] > 0 and step < _MOVES:
            y += 2.0
        elif abs(own[worst, 2]) / body.half_width > abs(own[worst, 1]) / body.front:
            body = replace(body, half_width=1.02 * body.half_width)
        else:
            body = replace(body, front=1.02 * body.front)
    kidneys = tuple((-1 if middle[2] < x else 1, _less(middle, (z, y, x))) for middle in middles)
    return Placed(body, (-z, -y, -x), kidneys)


def _places(mask: Mask, spacing_mm: Spacing) -> Array:
    """Some thousand points (n, 3) of a mask, mm from the first voxel."""
    found = np.argwhere(mask[:, ::2, ::2])
    return found[:: max(1, len(found) // _SAMPLED)] * (spacing_mm[0], 2 * spacing_mm[1], 2 * spacing_mm[2])


def _middles(labels: Labels, spacing_mm: Spacing) -> list[Point]:
    """The middle, in mm, of each of the two largest organs: kidney with its masses."""
    import cc3d

    components: Array = cc3d.connected_components(labels > 0, connectivity=26, out_dtype=np.uint32)
    sizes = np.bincount(components.ravel(order="K"))[1:] * volume_ml(1, spacing_mm)
    middles: list[Point] = []
    boxes = find_objects(components)
    for number in np.argsort(-sizes)[:2]:
        if sizes[number] >= _ORGAN_ML or not middles:
            inside = np.argwhere(components[boxes[number]] == number + 1).mean(axis=0)
            start = [part.start for part in boxes[number]]
            z, y, x = (float((a + b) * s) for a, b, s in zip(inside, start, spacing_mm, strict=True))
            middles.append((z, y, x))
    return middles


def _midline(middles: list[Point], points: Array, image_mm: float) -> float:
    """Between two kidneys; of one alone the image's middle, off the kidney where that lies in it."""
    if len(middles) == 2 and abs(middles[0][2] - middles[1][2]) > 2 * _MEDIAL_MM:
        return (middles[0][2] + middles[1][2]) / 2
    aside = middles[0][2]
    edge = float(np.quantile(points[:, 2], 0.02 if aside > image_mm else 0.98))
    return min(image_mm, edge - _MEDIAL_MM) if aside > image_mm else max(image_mm, edge + _MEDIAL_MM)


def _less(a: Point, b: Point) -> Point:
    z, y, x = (p - q for p, q in zip(a, b, strict=True))
    return z, y, x


def _kidneys(rng: np.random.Generator, placed: Placed) -> tuple[Kidney, ...]:
    """The body's kidneys moved to where the labels are: their vessels and ureters go there."""
    drawn = {kidney.side: kidney for kidney in draw_kidneys(rng, placed.body)}
    return tuple(replace(drawn[side], centre=centre) for side, centre in placed.kidneys if side in drawn)


def _paint_surroundings(
    canvas: Canvas, body: Body, kidneys: tuple[Kidney, ...], tissues: Tissues, phase: str, rng: np.random.Generator
) -> None:
    paint_torso(canvas, body, tissues, rng)
    paint_muscles(canvas, body, tissues, rng)
    paint_heart(canvas, body, tissues, rng)
    paint_bowel(canvas, body, tissues, rng)
    paint_organs(canvas, body, tissues, phase, rng)
    paint_vessels(canvas, body, kidneys, tissues, rng)
    paint_spine(canvas, body, tissues, rng)


def _paint_labelled(canvas: Canvas, body: Body, tissues: Tissues, phase: str, rng: np.random.Generator) -> None:
    """Perirenal fat, kidneys, then their tumors and cysts: each part's edge where its label ends."""
    fat_mm = float(np.clip(1.5 + body.fat * rng.uniform(0.03, 0.38), 1.5, 15))
    for box, inside in _parts(canvas, canvas.labels > 0, fat_mm + _RIM_MM):
        distance = _signed_mm(inside, canvas.grid.spacing_mm)
        fat = distance - fat_mm * (1 + 0.3 * Waves.draw(rng, 70, 4).at(box))
        canvas.blend(box, canvas.cover(np.maximum(fat, body.beyond_retroperitoneum(box))), tissues.fat)
        canvas.blend(box, canvas.cover(distance), _parenchyma_hu(box, distance, tissues, rng))
    tumor, cyst = KITS23.tumor[0], KITS23.mass[-1]
    for box, inside in _parts(canvas, canvas.labels == tumor, _RIM_MM):
        distance = _signed_mm(inside, canvas.grid.spacing_mm)
        radius = (3 / (4 * math.pi) * inside.sum() * math.prod(canvas.grid.spacing_mm)) ** (1 / 3)
        lump = Ellipsoid((0.0, 0.0, 0.0), (radius, radius, radius))
        tissue = draw_tissue(rng, 0, (lump,), max(radius, 2.0), phase)
        canvas.blend(box, canvas.cover(distance), tissue_hu(tissue, box, distance))
    for box, inside in _parts(canvas, canvas.labels == cyst, _RIM_MM):
        fluid_hu = float(np.clip(rng.normal(8, 6), -4, 22))
        canvas.blend(box, canvas.cover(_signed_mm(inside, canvas.grid.spacing_mm)), fluid_hu)


def _parenchyma_hu(box: Box, distance: Array, tissues: Tissues, rng: np.random.Generator) -> Array:
    """Cortex below the surface, pyramids of medulla deeper, urine in the innermost."""
    cortex_mm = float(rng.uniform(5, 8))
    pyramids, calyces = Waves.draw(rng, 14, 6).at(box), Waves.draw(rng, 22, 6).at(box)
    pyramid = np.clip(0.8 * pyramids + 0.5, 0, 1) * np.clip((-distance - cortex_mm) * 0.4, 0, 1)
    calyx = np.clip(2 * calyces - 1.6, 0, 1) * np.clip((-distance - 2 * cortex_mm) * 0.4, 0, 1)
    hu = tissues.cortex + pyramid * (tissues.medulla - tissues.cortex)
    return np.asarray(hu + calyx * (tissues.urine - hu))


def _parts(canvas: Canvas, mask: Mask, rim_mm: float) -> Iterator[tuple[Box, Mask]]:
    """Each component of a mask: its box with a rim, and where in the box it is."""
    import cc3d

    components: Array = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32)
    rims = [math.ceil(rim_mm / step) for step in canvas.grid.spacing_mm]
    for number, found in enumerate(find_objects(components), start=1):
        z, y, x = (
            slice(max(0, part.start - rim), min(n, part.stop + rim))
            for part, rim, n in zip(found, rims, mask.shape, strict=True)
        )
        along_z, along_y, along_x = canvas.grid.axes
        box = Box((z, y, x), along_z[z][:, None, None], along_y[y][None, :, None], along_x[x][None, None, :])
        yield box, components[z, y, x] == number


def _signed_mm(inside: Mask, spacing_mm: Spacing) -> Array:
    """Distance to the mask's surface, half a pixel beyond its outermost centres; negative inside, float32."""
    half = min(spacing_mm) / 2
    outer = distance_transform_edt(~inside, sampling=spacing_mm).astype(np.float32)
    inner = distance_transform_edt(inside, sampling=spacing_mm).astype(np.float32)
    return np.where(inside, half - inner, outer - half)
