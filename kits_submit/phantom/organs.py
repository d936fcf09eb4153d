"""Liver, gallbladder, spleen, pancreas, heart and the great vessels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from kits_submit.phantom.body import Body
from kits_submit.phantom.kidneys import Kidney
from kits_submit.phantom.phases import Tissues
from kits_submit.phantom.shapes import Box, Canvas, Capsule, Ellipsoid, Point, Waves, turned
from kits_submit.types import Array


def clip_to_abdomen(body: Body, box: Box, distance: Array, gap_mm: float) -> Array:
    """A shape's distance, the shape kept `gap_mm` inside the cavity's wall and the diaphragm."""
    wall = body.beyond_wall(box)
    dome = 0.75 * (body.dome(box.y[0], box.x[0])[None] - box.z)
    return np.maximum(np.maximum(distance, wall + gap_mm), dome + gap_mm)


def paint_in_abdomen(
    canvas: Canvas,
    body: Body,
    shapes: list[Ellipsoid],
    hu: float,
    *,
    texture: tuple[Waves, float] | None = None,
    before_kidney: bool = False,
) -> None:
    """Draw ellipsoids of one organ, clipped to the cavity.

    texture: a field and its amplitude in HU. before_kidney: leave the back to the right kidney, as the liver does.
    """
    for shape in shapes:
        box = canvas.box(shape)
        if box is None:
            continue
        distance = clip_to_abdomen(body, box, shape.distance(box), 2.5)
        if before_kidney:
            face = body.spine_y + 40 - 0.9 * (box.z + 90) + 0.8 * np.clip(-box.x - 60, 0, None)
            distance = np.maximum(distance, 0.7 * (box.y - face))
        tone = hu if texture is None else hu + texture[1] * texture[0].at(box)
        canvas.blend(box, canvas.cover(distance), tone)


def paint_organs(canvas: Canvas, body: Body, tissues: Tissues, phase: str, rng: np.random.Generator) -> None:
    """Everything solid in the upper abdomen, over the bowel and before the kidneys."""
    _paint_spleen(canvas, body, tissues, phase, rng)
    _paint_liver(canvas, body, tissues, rng)
    _paint_pancreas(canvas, body, tissues, rng)
    _paint_adrenals(canvas, body, tissues, rng)


def paint_heart(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    """Heart on the diaphragm in its fat, mediastinum, oesophagus."""
    z, front = body.dome_z - 2, body.front
    centre = (z, -0.25 * front, 18.0)
    canvas.paint(Ellipsoid(centre, (62.0, 0.62 * front, 68.0)), tissues.fat)
    canvas.paint(
        Ellipsoid((z - 4, centre[1], 18.0), (52.0, 0.50 * front, 56.0), turned(0, 0, 0.5)), tissues.muscle + 40
    )
    for x in (2.0, 40.0):
        blood = tissues.aorta if x > 20 else tissues.vein + 20
        canvas.paint(Ellipsoid((z - 8, centre[1], x), (38.0, 0.33 * front, 17.0), turned(0, 0, 0.5)), blood)
    spread = float(rng.uniform(20, 28))
    canvas.paint(
        Capsule((-500.0, body.spine_y - 22, 4.0), (body.dome_z + 20, body.spine_y - 20, 4.0), spread), tissues.fat
    )
    canvas.paint(Capsule((-500.0, body.spine_y - 34, -2.0), (-60.0, body.spine_y - 30, 10.0), 8.0), tissues.muscle)


def _paint_liver(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    side, front = body.half_width, body.front
    tip = float(rng.uniform(0, 60))
    scale = float(rng.uniform(0.9, 1.1))
    top = body.dome_z
    middle = (top + tip) / 2
    waves = Waves.draw(rng, 70, 4)
    right = Ellipsoid(
        (middle, -0.05 * front, -0.62 * side),
        ((tip - top) / 2 + 22, 80 * scale, 0.62 * side * scale),
        turned(0.0, 0.12, 0.1),
        3.0,
        waves,
    )
    dome = Ellipsoid(
        (top + 50, -0.12 * front, -0.48 * side), (58.0, 78 * scale, 0.66 * side), turned(0, 0, 0.1), 2.0, waves
    )
    left = Ellipsoid(
        (top + 55, -0.55 * front, 0.05 * side),
        (42 * scale, 0.36 * front, 0.52 * side * scale),
        turned(0, -0.12, -0.12),
        2.0,
        waves,
    )
    texture = (Waves.draw(rng, 20, 5), 4.0)
    paint_in_abdomen(canvas, body, [right, dome, left], tissues.liver, texture=texture, before_kidney=True)
    hilum = (top + 72.0, -0.15 * front, -0.22 * side)
    for _ in range(11):
        _vessel(canvas, rng, hilum, (right, dome, left)[int(rng.integers(3))], tissues.portal)
    for _ in range(int(rng.choice(6, p=(0.62, 0.15, 0.1, 0.06, 0.04, 0.03)))):
        _liver_lesion(canvas, body, rng, (right, dome)[int(rng.integers(2))], tissues)
    if rng.random() < 0.85:
        size = float(rng.uniform(0.7, 1.25))
        bladder = Ellipsoid(
            (tip - 12.0, -0.45 * front, -0.42 * side), (32 * size, 15 * size, 14 * size), turned(0.3, 0.2, 0.3)
        )
        paint_in_abdomen(canvas, body, [bladder], tissues.gut_wall)
        inner = Ellipsoid(bladder.centre, (32 * size - 2, 15 * size - 2, 14 * size - 2), bladder.axes)
        paint_in_abdomen(canvas, body, [inner], tissues.bile)


def _vessel(canvas: Canvas, rng: np.random.Generator, start: Point, organ: Ellipsoid, hu: float) -> None:
    """A two-piece branching vessel from the hilum into an organ."""
    aim = [c + 0.62 * r * float(d) for c, r, d in zip(organ.centre, organ.radii, rng.uniform(-1, 1, 3), strict=True)]
    z, y, x = ((a + b) / 2 + float(rng.normal(0, 6)) for a, b in zip(start, aim, strict=True))
    canvas.paint(Capsule(start, (z, y, x), 4.5, 3.2), hu)
    canvas.paint(Capsule((z, y, x), (aim[0], aim[1], aim[2]), 3.2, 1.2), hu)


def _liver_lesion(canvas: Canvas, body: Body, rng: np.random.Generator, organ: Ellipsoid, tissues: Tissues) -> None:
    z, y, x = (c + 0.6 * r * float(d) for c, r, d in zip(organ.centre, organ.radii, rng.uniform(-1, 1, 3), strict=True))
    radius = float(rng.uniform(4, 18))
    hu = 8.0 if rng.random() < 0.6 else tissues.liver - float(rng.uniform(15, 45))
    shape = Ellipsoid((z, y, x), (radius, radius, radius), bump_mm=0.08 * radius, waves=Waves.draw(rng, 2 * radius, 3))
    paint_in_abdomen(canvas, body, [shape], hu)


def _paint_spleen(canvas: Canvas, body: Body, tissues: Tissues, phase: str, rng: np.random.Generator) -> None:
    size = float(rng.uniform(0.85, 1.25))
    centre = (float(rng.uniform(-72, -45)), 0.42 * body.back, 0.80 * body.half_width)
    spleen = Ellipsoid(
        centre, (54 * size, 44 * size, 27 * size), turned(0.35, 0.25, -0.45), 2.0, Waves.draw(rng, 45, 4)
    )
    mottle = 16.0 if phase == "corticomedullary" else 2.5  # the red pulp fills unevenly in the first minute
    paint_in_abdomen(canvas, body, [spleen], tissues.spleen, texture=(Waves.draw(rng, 16, 5), mottle))


def _paint_pancreas(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    y = body.spine_y - 44
    path = ((8.0, y, -34.0), (-4.0, y - 12, -12.0), (-14.0, y - 10, 18.0), (-26.0, y + 8, 48.0), (-38.0, y + 24, 76.0))
    for start, end in pairwise(path):
        for step in (0.0, 0.5):
            z, yy, x = (a + step * (b - a) + float(rng.normal(0, 2)) for a, b in zip(start, end, strict=True))
            radius = float(rng.uniform(8, 12))
            canvas.paint(
                Ellipsoid((z, yy, x), (radius * 1.1, radius, radius * 1.3), bump_mm=1.2, waves=Waves.draw(rng, 11, 3)),
                tissues.pancreas,
            )
    canvas.paint(Capsule((-10.0, y + 4, -8.0), (-34.0, y + 26, 70.0), 4.0), tissues.portal)  # splenic vein


def _paint_adrenals(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    for side, top in ((-1, -52.0), (1, -48.0)):
        apex = (top + float(rng.normal(0, 5)), body.spine_y - 8, side * 34.0)
        for turn in (-9.0, 9.0):
            foot = (apex[0] + 24, apex[1] + 10 + turn / 3, apex[2] + side * 8 + turn)
            canvas.paint(Capsule(apex, foot, 2.6), tissues.pancreas)


def paint_vessels(
    canvas: Canvas, body: Body, kidneys: tuple[Kidney, ...], tissues: Tissues, rng: np.random.Generator
) -> None:
    """Aorta, cava, their branches to kidneys, gut and legs."""
    y = body.spine_y
    radius, lean = float(rng.uniform(8.5, 13)), float(rng.uniform(4, 14))
    fork = float(rng.uniform(80, 105))
    aorta = [(-500.0, y - 24, 16.0), (-90.0, y - 30, 10.0), (-20.0, y - 32, lean), (fork, y - 32, lean - 2)]
    cava = [(-160.0, y - 50, -22.0), (-90.0, y - 42, -26.0), (0.0, y - 30, -23.0), (fork + 8, y - 27, -16.0)]
    _tube(canvas, cava, radius * float(rng.uniform(0.95, 1.25)), tissues.vein)
    for kidney in kidneys:
        hilum, mouth = kidney.point(0.05, -0.75, 0.1), kidney.point(0.0, -1.35, 0.15)
        trunk = (mouth[0] + 6, y - 40, -14.0) if kidney.side < 0 else (mouth[0] + 4, y - 47, lean + 8)
        _tube(canvas, [hilum, mouth, trunk, (trunk[0] + 2, y - 36, -22.0)], 4.8, tissues.renal_vein)
        _tube(canvas, [hilum, mouth, (mouth[0] - 4, y - 26, lean)], 2.9, tissues.aorta)
        foot = (kidney.point(0.8, -1.0, 0)[0] + 60, y - 12, kidney.side * 42.0)
        _tube(
            canvas,
            [kidney.point(0.1, -0.9, 0), kidney.point(0.6, -1.15, 0), foot, (220.0, y + 5, kidney.side * 45.0)],
            2.0,
            tissues.urine + 20,
        )
    _tube(canvas, aorta, radius, tissues.aorta)
    if rng.random() < 0.6:
        _plaques(canvas, rng, aorta[2], aorta[3], radius)
    for side in (-1, 1):
        leg = (fork + 110, y - 10, side * 62.0)
        _tube(canvas, [aorta[3], leg], 0.62 * radius, tissues.aorta)
        _tube(canvas, [cava[3], (fork + 112, y + 2, side * 58.0)], 0.75 * radius, tissues.vein)
    root = (-22.0, y - 42, 4.0)
    _tube(canvas, [(-20.0, y - 32, lean), root, (70.0, y - 58, 0.0)], 3.5, tissues.aorta)
    _tube(canvas, [(-12.0, y - 52, -10.0), (75.0, y - 62, -10.0)], 5.0, tissues.portal)
    _tube(
        canvas,
        [(-12.0, y - 52, -10.0), (body.dome_z + 72, -0.15 * body.front, -0.22 * body.half_width)],
        6.0,
        tissues.portal,
    )


def _tube(canvas: Canvas, path: list[Point], radius: float, hu: float) -> None:
    for start, end in pairwise(path):
        canvas.paint(Capsule(start, end, radius), hu)


def _plaques(canvas: Canvas, rng: np.random.Generator, start: Point, end: Point, radius: float) -> None:
    for _ in range(int(rng.integers(3, 14))):
        t, angle = float(rng.random()), float(rng.uniform(0, 6.28))
        z, y, x = (a + t * (b - a) for a, b in zip(start, end, strict=True))
        spot = (z, y + radius * float(np.sin(angle)), x + radius * float(np.cos(angle)))
        canvas.paint(Ellipsoid(spot, (float(rng.uniform(2, 5)), 1.6, 1.6)), float(rng.uniform(450, 900)))
