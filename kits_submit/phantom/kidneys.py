"""Kidneys: where they lie, their shape, and how cortex, pyramids, sinus, calyces and cysts are drawn.

A kidney's own axes are u (upper to lower pole), v (hilum outwards) and w (the thin way through). What counts
as kidney follows KiTS19: parenchyma, collecting system inside the outline and cysts; sinus fat is background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kits_submit.labels import KIDNEY
from kits_submit.phantom.body import Body
from kits_submit.phantom.cysts import Cyst, paint_cyst
from kits_submit.phantom.phases import Tissues
from kits_submit.phantom.shapes import (
    Axes,
    Box,
    Canvas,
    Capsule,
    Ellipsoid,
    Point,
    Waves,
    ellipsoid_distance,
    local,
)
from kits_submit.types import Array

# One kidney of two, mL: KiTS19's label 1 is 91 / 408 / 765 mL (min / median / max) for both together.
_MEDIAN_ML, _LOG_SPREAD, _LOW_ML, _HIGH_ML = 194.0, 0.27, 90.0, 340.0
_ALONE_FACTOR = 1.3  # a kidney that works alone grows
_ALONE_SHARE = 0.05
_FILL = 0.83  # measured: labelled volume over the outer ellipsoid's, the rest is sinus


@dataclass(frozen=True)
class Kidney:
    """One kidney. side: -1 patient's right, +1 left. radii: half axes along u, v, w in mm."""

    side: int
    centre: Point
    radii: Point
    axes: Axes
    bend_mm: float
    lobes_mm: float
    waves: Waves
    sinus: float
    pelvis: float
    pyramids: tuple[float, float, float]
    cortex_mm: float
    fat_mm: float
    fat_waves: Waves
    cysts: tuple[Cyst, ...] = ()

    def bounds(self, margin_mm: float) -> tuple[Point, Point]:
        """Corners of the axis-aligned box around the kidney and a margin."""
        return Ellipsoid(self.centre, self.radii, self.axes, self.lobes_mm).bounds(margin_mm + self.bend_mm)

    def frame(self, box: Box) -> tuple[Array, Array, Array]:
        """The voxels' u, v, w in mm, the banana's bend taken out of v."""
        u, v, w = local(box, self.centre, self.axes)
        return u, v + self.bend_mm * (u / self.radii[0]) ** 2, w

    def outer(self, box: Box, frame: tuple[Array, Array, Array]) -> Array:
        """Signed distance to the kidney's outer surface, the hilum closed."""
        return ellipsoid_distance(frame, self.radii) + self.lobes_mm * self.waves.at(box)

    def sinus_distance(self, frame: tuple[Array, Array, Array]) -> Array:
        """Signed distance to the sinus, which opens at the hilum."""
        a, b, c = self.radii
        u, v, w = frame
        s = self.sinus
        return ellipsoid_distance((u, v + 0.72 * b, w), (0.50 * a * s, 0.70 * b * s, 0.46 * c * s))

    def point(self, u: float, v: float, w: float) -> Point:
        """The place in the patient of a point in the kidney's own axes (fractions of its radii)."""
        a, b, c = self.radii
        own = (u * a, v * b - self.bend_mm * u * u, w * c)
        z, y, x = (
            middle + sum(part * row[i] for part, row in zip(own, self.axes, strict=True))
            for i, middle in enumerate(self.centre)
        )
        return z, y, x

    def surface(self, directions: Array) -> Array:
        """Points (n, 3) of the surface, z, y, x, in the given directions (n, 3) of the kidney's own axes."""
        own = directions * self.radii
        own[:, 1] -= self.bend_mm * directions[:, 0] ** 2
        return np.asarray(own @ np.array(self.axes) + self.centre)

    def direction(self, u: float, v: float, w: float) -> Point:
        """The outward normal at that point of the surface, in the patient's axes."""
        normal = np.array([u / self.radii[0], v / self.radii[1], w / self.radii[2]])
        z, y, x = normal / np.linalg.norm(normal) @ np.array(self.axes)
        return float(z), float(y), float(x)


def draw_kidneys(rng: np.random.Generator, body: Body) -> tuple[Kidney, ...]:
    """Two kidneys, or one in about 5 % of patients."""
    log_volume = float(rng.normal(0, _LOG_SPREAD))
    sides: tuple[int, ...] = (-1, 1)
    alone = rng.random() < _ALONE_SHARE
    missing = int(rng.integers(2))
    if alone:
        sides = (sides[missing],)
    kidneys = []
    for side in sides:
        log_own = 0.85 * log_volume + float(rng.normal(0, 0.10))
        volume = _MEDIAN_ML * math.exp(log_own) * (_ALONE_FACTOR if alone else 1.0)
        kidneys.append(_draw_kidney(rng, body, side, min(max(volume, _LOW_ML), _HIGH_ML)))
    return tuple(kidneys)


def _draw_kidney(rng: np.random.Generator, body: Body, side: int, volume_ml: float) -> Kidney:
    long, wide = float(rng.uniform(1.85, 2.25)), float(rng.uniform(1.1, 1.38))
    thin = (volume_ml * 1000 / (_FILL * 4 / 3 * math.pi * long * wide)) ** (1 / 3)
    radii = (thin * long, thin * wide, thin)
    axes = _kidney_axes(rng, side)
    kidney = Kidney(
        side=side,
        centre=(float(rng.normal(4 if side < 0 else -10, 9)), body.back, side * float(rng.uniform(62, 72))),
        radii=radii,
        axes=axes,
        bend_mm=float(rng.uniform(1, 8)),
        lobes_mm=float(rng.uniform(0.3, 1.2)),
        waves=Waves.draw(rng, 38, 4),
        sinus=float(rng.uniform(0.85, 1.12)),
        pelvis=float(rng.uniform(0.5, 1.1)),
        pyramids=(float(rng.uniform(8, 11)), float(rng.uniform(4.5, 6.5)), float(rng.uniform(0, 6.28))),
        cortex_mm=float(rng.uniform(5, 8)),
        fat_mm=float(np.clip(1.5 + body.fat * rng.uniform(0.03, 0.38), 1.5, 15)),
        fat_waves=Waves.draw(rng, 70, 4),
    )
    kidney = _fitted(kidney, body)
    return _with_cysts(rng, kidney)


def _kidney_axes(rng: np.random.Generator, side: int) -> Axes:
    """Upper pole towards the spine and the back, hilum turned to the front as the psoas pushes it."""
    lean = math.radians(float(rng.uniform(8, 22)))  # upper pole medial
    nod = math.radians(float(rng.uniform(0, 16)))  # upper pole to the back
    turn = math.radians(float(rng.uniform(15, 50)))  # hilum to the front
    u = np.array([math.cos(lean) * math.cos(nod), -math.sin(nod), side * math.sin(lean)])
    v = np.array([0.0, math.sin(turn), side * math.cos(turn)])
    u /= np.linalg.norm(u)
    v -= (v @ u) * u
    v /= np.linalg.norm(v)
    rows = np.stack([u, v, np.cross(u, v)])
    p, q, r = ((float(z), float(y), float(x)) for z, y, x in rows)
    return p, q, r


def _fitted(kidney: Kidney, body: Body) -> Kidney:
    """The kidney moved forwards off the back wall, and sideways off the spine, until it fits."""
    gap = 2 + 0.5 * kidney.fat_mm
    sphere = _directions()
    for _ in range(60):
        points = kidney.surface(sphere)
        z, y, x = kidney.centre
        tight = float(body.outside(points).max()) > -gap
        near = float((kidney.side * points[:, 2]).min()) < 26
        if not tight and not near:
            break
        kidney = replace(kidney, centre=(z, y - 2.0 * tight, x + 1.0 * near * kidney.side - 0.4 * tight * kidney.side))
    return kidney


def _directions() -> Array:
    """60 points spread over the unit sphere (Fibonacci lattice)."""
    i = np.arange(60) + 0.5
    up, around = 1 - 2 * i / 60, i * math.pi * (1 + math.sqrt(5))
    flat = np.sqrt(1 - up * up)
    return np.stack([up, flat * np.cos(around), flat * np.sin(around)], axis=1)


def _with_cysts(rng: np.random.Generator, kidney: Kidney) -> Kidney:
    cysts = []
    for _ in range(int(rng.choice(5, p=(0.5, 0.25, 0.13, 0.07, 0.05)))):
        u, v, w = surface_direction(rng)
        radius = float(np.clip(math.exp(rng.normal(math.log(6), 0.55)), 2.5, 26))
        normal = kidney.direction(u, v, w)
        out = radius * float(rng.uniform(-0.9, 0.2))
        z, y, x = (p + out * n for p, n in zip(kidney.point(u, v, w), normal, strict=True))
        ball = Ellipsoid((z, y, x), (radius, radius * float(rng.uniform(0.85, 1.1)), radius))
        cysts.append(Cyst(ball, float(np.clip(rng.normal(8, 6), -4, 22))))
    return replace(kidney, cysts=tuple(cysts))


def surface_direction(rng: np.random.Generator) -> Point:
    """A random direction in a kidney's axes that does not point into the hilum."""
    while True:
        u, v, w = rng.normal(size=3) / 1.0
        length = math.sqrt(u * u + v * v + w * w)
        if v / length > -0.25 or abs(u) / length > 0.9:
            return float(u / length), float(v / length), float(w / length)


def paint_kidney(canvas: Canvas, body: Body, kidney: Kidney, tissues: Tissues, cyst_label: int = KIDNEY) -> None:
    """Draw the perirenal fat, the kidney and its cysts, HU and labels."""
    box = canvas.grid.box(*kidney.bounds(kidney.fat_mm * 1.8 + 2))
    if box is not None:
        _paint_fat(canvas, body, kidney, box, tissues.fat)
    box = canvas.grid.box(*kidney.bounds(2))
    if box is not None:
        _paint_parenchyma(canvas, kidney, box, tissues)
    for cyst in kidney.cysts:
        paint_cyst(canvas, body, cyst, cyst_label)


def _paint_fat(canvas: Canvas, body: Body, kidney: Kidney, box: Box, hu: float) -> None:
    frame = kidney.frame(box)
    to_front = np.clip(0.5 + (kidney.centre[1] - box.y) / 40, 0, 1)
    to_top = np.clip(0.5 - frame[0] / 60, 0, 1)
    thick = kidney.fat_mm * (1 - 0.6 * to_front * to_top) * (1 + 0.3 * kidney.fat_waves.at(box))
    shell = kidney.outer(box, frame) - thick
    canvas.blend(box, canvas.cover(np.maximum(shell, body.beyond_retroperitoneum(box))), hu)


def _paint_parenchyma(canvas: Canvas, kidney: Kidney, box: Box, tissues: Tissues) -> None:
    frame = kidney.frame(box)
    outer, sinus = kidney.outer(box, frame), kidney.sinus_distance(frame)
    hu = _parenchyma_hu(kidney, frame, outer, sinus, tissues)
    solid = np.maximum(outer, -sinus)
    canvas.blend(box, canvas.cover(np.maximum(sinus, outer - 3)), tissues.fat + 12)
    canvas.blend(box, canvas.cover(solid), hu)
    labels = canvas.labels[box.slices]
    labels[solid < 0] = KIDNEY
    for part, filling in _sinus_contents(kidney, tissues):
        inner = canvas.box(part)
        if inner is None:
            continue
        distance = part.distance(inner)
        canvas.blend(inner, canvas.cover(distance), filling)
        closed = np.maximum(distance, kidney.outer(inner, kidney.frame(inner)))
        canvas.labels[inner.slices][closed < 0] = KIDNEY


def _parenchyma_hu(
    kidney: Kidney, frame: tuple[Array, Array, Array], outer: Array, sinus: Array, tissues: Tissues
) -> Array:
    """Cortex under the surface and in the columns between the pyramids, medulla in the pyramids."""
    u, v, w = frame
    along, around, shift = kidney.pyramids
    a, b, c = kidney.radii
    angle = np.arctan2(w / c, v / b + 0.7)
    pattern = np.sin(u * (along * math.pi / a / 2) + shift) + np.cos(angle * around)
    deep = np.clip((-outer - kidney.cortex_mm) * 0.4, 0, 1) * np.clip((sinus + 1) * 0.4, 0, 1)
    pyramid = np.clip(pattern * 1.1 + 0.9, 0, 1) * deep
    return tissues.cortex + np.asarray(pyramid) * (tissues.medulla - tissues.cortex)


def _sinus_contents(kidney: Kidney, tissues: Tissues) -> list[tuple[Ellipsoid | Capsule, float]]:
    """What runs through the sinus fat, with its HU: veins, the renal pelvis, calyces into the parenchyma."""
    a, b, c = kidney.radii
    size = kidney.pelvis
    gate = kidney.point(0.05, -0.95, 0.1)
    ends = ((-0.42, -0.32, -0.22), (-0.12, -0.2, 0.28), (0.22, -0.25, -0.26), (0.45, -0.35, 0.2))
    parts: list[tuple[Ellipsoid | Capsule, float]] = [
        (Capsule(gate, kidney.point(*end), 3.6, 2.2), tissues.renal_vein) for end in ends
    ]
    pelvis = Ellipsoid(kidney.point(0, -0.62, 0), (0.20 * a * size, 0.36 * b * size, 0.20 * c * size), kidney.axes)
    parts.append((pelvis, tissues.urine))
    tips = ((-0.55, 0.0, 0.1), (-0.25, 0.08, -0.1), (0.08, 0.1, 0.12), (0.35, 0.06, -0.1), (0.56, -0.05, 0.0))
    middle = kidney.point(0, -0.45, 0)
    calyces = [Capsule(middle, kidney.point(*end), 1.6 * size + 0.4, 2.6 * size + 0.6) for end in tips]
    return parts + [(calyx, tissues.urine) for calyx in calyces]
