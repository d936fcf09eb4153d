"""Stomach, colon, small bowel and the mesentery's vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kits_submit.phantom.body import Body
from kits_submit.phantom.phases import Tissues
from kits_submit.phantom.shapes import Canvas, Capsule, Point, Waves
from kits_submit.types import Array

_GAS_HU = -960.0


@dataclass(frozen=True)
class Loop:
    """A piece of gut: a path, its radius at each point, its wall, and what fills it.

    filling: HU below the gas. level_mm: rows in front of (less y than) this hold gas. mottle_hu: stool's unevenness.
    """

    path: tuple[Point, ...]
    radii: tuple[float, ...]
    wall_mm: float
    wall_hu: float
    filling: float
    level_mm: float
    mottle_hu: float
    mottle: Waves


def paint_bowel(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    """Draw the gut from back to front, loops over loops; the order of the draws is what equal seeds stand on."""
    drunk = rng.random() < 0.25  # positive oral contrast: gut as bright as an enhanced kidney
    bright = float(rng.uniform(150, 450))
    contrast = bright if drunk else None
    _mesentery(canvas, body, tissues, rng)
    for path, radius in _small_bowel(body, rng):
        _paint(canvas, _small_loop(path, radius, contrast, tissues, rng))
    for path, radius in _colon(body, rng):
        _paint(canvas, _colon_loop(path, radius, tissues, rng))
    _paint(canvas, _stomach(body, contrast, tissues, rng))
    _paint(canvas, _duodenum(body, contrast, tissues, rng))


def _small_loop(
    path: tuple[Point, ...], radius: float, contrast: float | None, tissues: Tissues, rng: np.random.Generator
) -> Loop:
    filling = contrast if contrast is not None and rng.random() < 0.7 else float(rng.uniform(5, 45))
    gas = path[0][1] + float(rng.choice((-99.0, -4.0, 0.0), p=(0.8, 0.12, 0.08)))
    wall_hu = tissues.gut_wall + 8
    return _loop(rng, path, radius, wall_mm=2.0, wall_hu=wall_hu, filling=filling, level_mm=gas, mottle_hu=5.0)


def _colon_loop(path: tuple[Point, ...], radius: float, tissues: Tissues, rng: np.random.Generator) -> Loop:
    stool = rng.random() < 0.65
    filling = float(rng.uniform(-60, 60)) if stool else float(rng.uniform(5, 40))
    gas = path[0][1] + float(rng.uniform(-1.2, 1.2)) * radius
    mottle = 85.0 if stool else 6.0
    return _loop(
        rng, path, radius, wall_mm=2.2, wall_hu=tissues.gut_wall, filling=filling, level_mm=gas, mottle_hu=mottle
    )


def _stomach(body: Body, contrast: float | None, tissues: Tissues, rng: np.random.Generator) -> Loop:
    full = float(rng.uniform(0.7, 1.25))
    path = (
        (-105.0, 5.0, 58.0),
        (-75.0, -15.0, 66.0),
        (-45.0, -0.45 * body.front, 58.0),
        (-22.0, -0.6 * body.front, 26.0),
        (-18.0, -0.5 * body.front, -12.0),
    )
    filling = contrast if contrast is not None else float(rng.uniform(0, 60))
    level = float(rng.uniform(-0.9, -0.2)) * body.front
    radii = (26 * full, 28 * full, 24 * full, 17 * full, 11.0)
    return Loop(path, radii, 4.0, tissues.gut_wall, filling, level, 12.0, Waves.draw(rng, 18, 4))


def _duodenum(body: Body, contrast: float | None, tissues: Tissues, rng: np.random.Generator) -> Loop:
    y = body.spine_y - 38
    path = (
        (-10.0, y - 22, -34.0),
        (10.0, y, -46.0),
        (40.0, y + 2, -42.0),
        (46.0, y - 4, -10.0),
        (34.0, y - 10, 26.0),
    )
    filling = contrast if contrast is not None else 25.0
    wall_hu = tissues.gut_wall + 5
    return _loop(rng, path, 11.0, wall_mm=2.4, wall_hu=wall_hu, filling=filling, level_mm=y - 9, mottle_hu=10.0)


def _loop(
    rng: np.random.Generator,
    path: tuple[Point, ...],
    radius: float,
    *,
    wall_mm: float,
    wall_hu: float,
    filling: float,
    level_mm: float,
    mottle_hu: float,
) -> Loop:
    radii = tuple(radius * float(rng.uniform(0.78, 1.15)) for _ in path)
    return Loop(path, radii, wall_mm, wall_hu, filling, level_mm, mottle_hu, Waves.draw(rng, 12.0, 12))


def _small_bowel(body: Body, rng: np.random.Generator) -> list[tuple[tuple[Point, ...], float]]:
    """Random walks through the middle of the abdomen, kept inside the cavity and in front of the spine."""
    loops = []
    back = body.spine_y - 48
    for _ in range(int(rng.integers(40, 75))):
        radius = float(rng.uniform(8, 13.5))
        point = np.array([rng.uniform(-20, 205), rng.uniform(-0.9 * body.front, back), rng.uniform(-75, 85)])
        step = rng.normal(size=3)
        path: list[Point] = []
        for _ in range(9):
            step = 0.65 * step / np.linalg.norm(step) + 0.6 * rng.normal(size=3) * (0.6, 0.8, 1.0)
            point = point + 15 * step / np.linalg.norm(step)
            point[1] = min(point[1], back)
            point[0] = max(point[0], -0.35 * max(0.0, point[2]))
            over = float(body.outside(point[None])[0]) + radius + 3
            if over > 0:
                point[1:] *= 1 - over / max(1.0, float(np.hypot(point[1], point[2])))
                step = -step
            path.append((float(point[0]), float(point[1]), float(point[2])))
        loops.append((tuple(path), radius))
    return loops


def _colon(body: Body, rng: np.random.Generator) -> list[tuple[tuple[Point, ...], float]]:
    """Ascending, transverse (sagging) and descending colon along the flanks and the front."""
    right, left = float(rng.uniform(18, 27)), float(rng.uniform(11, 18))
    sag = float(rng.uniform(20, 90))

    def flank(side: int, z: float, y: float, radius: float) -> Point:
        x = side * body.half_width
        for _ in range(40):
            if float(body.outside(np.array([[z, y, x]]))[0]) < -radius - 4:
                break
            x -= side * 3.0
        return (z, y + float(rng.normal(0, 3)), x + float(rng.normal(0, 2)))

    front = -0.62 * body.front
    ascending = tuple(flank(-1, z, 0.32 * body.back, right) for z in (150.0, 128.0, 106.0, 84.0, 64.0))
    descending = tuple(flank(1, z, 0.35 * body.back, left) for z in (-25.0, 5.0, 35.0, 65.0, 95.0, 125.0, 160.0, 195.0))
    across = [flank(-1, 50.0, -10.0, right)]
    across += [
        (25 + sag * (1 - 2 * abs(x)), front + float(rng.normal(0, 5)), x * body.half_width)
        for x in (-0.5, -0.2, 0.1, 0.4, 0.65)
    ]
    across.append(flank(1, -22.0, 5.0, left))
    return [(descending, left), (ascending, right), (tuple(across), 0.5 * (left + right))]


def _mesentery(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    for _ in range(150):
        start = (
            float(rng.uniform(-10, 180)),
            float(rng.uniform(-0.8 * body.front, body.spine_y - 45)),
            float(rng.uniform(-70, 70)),
        )
        z, y, x = (a + float(d) for a, d in zip(start, rng.normal(0, (16, 14, 18)), strict=True))
        hu = (tissues.portal, tissues.aorta)[int(rng.integers(2))]
        canvas.paint(Capsule(start, (z, y, x), float(rng.uniform(0.9, 2.6))), hu)


def _paint(canvas: Canvas, loop: Loop) -> None:
    """Wall first along the whole path, then the lumen, so that joints stay open."""
    pieces = list(zip(loop.path, loop.path[1:], loop.radii, loop.radii[1:], strict=False))
    for start, end, radius, end_radius in pieces:
        canvas.paint(Capsule(start, end, radius, end_radius), loop.wall_hu)
    for start, end, radius, end_radius in pieces:
        shape = Capsule(start, end, radius - loop.wall_mm, end_radius - loop.wall_mm)
        box = canvas.box(shape)
        if box is None:
            continue
        filling: Array = loop.filling + loop.mottle_hu * loop.mottle.at(box)
        gas = canvas.cover(box.y - np.float32(loop.level_mm))
        content = np.maximum(filling, _GAS_HU) * (1 - gas) + _GAS_HU * gas
        canvas.blend(box, canvas.cover(shape.distance(box)), content)
