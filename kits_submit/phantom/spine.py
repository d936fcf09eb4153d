"""The spine with its arches, discs and canal, and the muscles along it."""

from __future__ import annotations

import math

import numpy as np

from kits_submit.phantom.body import Body
from kits_submit.phantom.phases import Tissues
from kits_submit.phantom.shapes import Canvas, Capsule, Ellipsoid, Waves
from kits_submit.types import Array

_PERIOD_MM = 35.0  # one vertebra and its disc
_DISC_MM = 8.0


def paint_muscles(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    """Erector spinae beside the arches, psoas growing downwards, quadratus, the diaphragm's crura."""
    y = body.spine_y
    bulk = float(rng.uniform(0.85, 1.2))
    hu = tissues.muscle
    for side in (-1, 1):
        canvas.paint(Capsule((-400.0, y + 33, side * 27.0), (400.0, y + 33, side * 27.0), 17 * bulk), hu - 4)
        for z in (-30.0, 20.0, 70.0, 120.0):
            grown = 0.62 + 0.0032 * (z + 50)
            start = (z - 25, y + 6, side * (29 + 0.10 * (z + 50)))
            end = (z + 25, y + 4 - 0.05 * z, side * (32 + 0.10 * (z + 75)))
            canvas.paint(Capsule(start, end, 19 * grown * bulk), hu + 2)
        canvas.paint(
            Ellipsoid(
                (45.0, body.back - 3, side * 62.0),
                (70.0, 7 * bulk, 24 * bulk),
                ((1, 0, 0), (0, 0.94, side * 0.34), (0, -side * 0.34, 0.94)),
            ),
            hu,
        )
        canvas.paint(Capsule((-120.0, y - 14, side * 20.0), (20.0, y - 16, side * 12.0), 5.0), hu)


def paint_spine(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    """Draw vertebrae over everything around them."""
    grid = canvas.grid
    z = grid.axes[0]
    if not len(z):
        return
    box = grid.box((float(z[0]) - 1, body.spine_y - 40, -62.0), (float(z[-1]) + 1, body.spine_y + 82, 62.0))
    if box is None:
        return
    size = float(rng.uniform(0.92, 1.1))
    dy = box.y - np.float32(body.spine_y) - 4 * np.sin(box.z / 90)
    phase = (box.z + float(rng.uniform(0, _PERIOD_MM))) % _PERIOD_MM - _PERIOD_MM / 2  # 0: mid vertebra
    half = (_PERIOD_MM - _DISC_MM) / 2
    waist = 1.5 * np.cos(phase * (math.pi / half)) * size
    growth = 1 + 0.0006 * box.z
    bone = Waves.draw(rng, 9.0, 5).at(box) * 22 + tissues.marrow
    column = _ellipse(dy, box.x, 17 * size * growth, 23 * size * growth)
    canvas.blend(box, canvas.cover(column), 75 + 0.1 * tissues.muscle)
    body_distance = np.maximum(column + waist, np.abs(phase) - half)
    canvas.blend(box, canvas.cover(body_distance), tissues.cortical_bone)
    canvas.blend(box, canvas.cover(body_distance + 1.6), bone)
    tip = float(body.wall(np.array([math.pi / 2]), 0.0)[0]) - 5 - body.spine_y
    _paint_arch(canvas, box.slices, (phase, dy, box.x), size=size, tip=tip, tissues=tissues)


def _paint_arch(
    canvas: Canvas,
    slices: tuple[slice, slice, slice],
    at: tuple[Array, Array, Array],
    *,
    size: float,
    tip: float,
    tissues: Tissues,
) -> None:
    """Canal, lamina ring, pedicles, transverse and spinous processes, the last as far back as `tip`."""
    phase, dy, x = at
    region = canvas.hu[slices]
    side = np.abs(x)
    canal = _ellipse(dy - 25 * size, x, 8 * size, 11 * size)
    lamina = np.maximum(canal - 5.5, np.abs(phase + 2) - 13)
    pedicle = np.maximum(np.maximum(np.abs(side - 14 * size) - 4.5, np.abs(phase + 5) - 6), np.abs(dy - 18) - 9)
    spinous = np.maximum(np.maximum(side - 3.6, np.abs(phase - 5) - 13), np.abs(dy - (tip + 33) / 2) - (tip - 33) / 2)
    rise = np.hypot(dy - 24 * size - 0.12 * side, phase + 4) - 3.2
    transverse = np.maximum(rise, np.abs(side - 27 * size) - 13)
    facet = np.hypot(np.hypot(dy - 33 * size, side - 17 * size), 0.5 * (np.abs(phase) - 14)) - 6.5
    bones = np.minimum(np.minimum(np.minimum(lamina, pedicle), np.minimum(spinous, transverse)), facet)
    region += canvas.cover(bones) * (tissues.cortical_bone - region)
    region += canvas.cover(bones + 2.2) * (tissues.marrow + 60 - region)
    region += canvas.cover(canal) * (-40 - region)
    region += canvas.cover(canal + 2) * (32 - region)


def _ellipse(y: Array, x: Array, ry: Array | float, rx: Array | float) -> Array:
    """About the signed distance to an upright elliptic cylinder around the z axis."""
    k0 = np.sqrt((y / ry) ** 2 + (x / rx) ** 2)
    k1 = np.sqrt((y / ry**2) ** 2 + (x / rx**2) ** 2) + np.float32(1e-6)
    return np.asarray(np.where(k0 < 0.1, np.float32(-10), k0 * (k0 - 1) / k1))
