"""Renal tumors: always rooted in a kidney, from buried in it to hanging off it.

KiTS19's label 2 is 0.82 / 30.1 / 1464 mL (min / median / max), one tumor in 200 of 210 cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kits_submit.labels import BACKGROUND, TUMOR
from kits_submit.phantom.body import Body
from kits_submit.phantom.kidneys import Kidney, surface_direction
from kits_submit.phantom.phases import PHASES, SUBTYPES
from kits_submit.phantom.shapes import Box, Canvas, Ellipsoid, Point, Waves, turned
from kits_submit.types import Array

_MEDIAN_ML, _LOG_SPREAD, _LOW_ML, _HIGH_ML = 30.0, 1.45, 1.1, 1250.0
_COUNT_SHARE = (0.955, 0.03, 0.015)
_BIG_MM = 28.0
_ROOT_MM = 4.0  # how deep the smallest tumor still sits in its kidney
_LUMPS_FACTOR = 1.08  # measured: a tumor's volume, walls holding it back, over its main lump's


@dataclass(frozen=True)
class Tumor:
    """One tumor: overlapping lumps, the main one first, the HU of its solid part, its necrotic core (0 none to 1)."""

    kidney: int
    lumps: tuple[Ellipsoid, ...]
    hu: float
    uneven_hu: float
    texture: Waves
    coarse: Waves
    necrosis: float
    necrosis_hu: float
    rim_hu: float
    subtype: str


def draw_tumors(rng: np.random.Generator, kidneys: tuple[Kidney, ...], body: Body, phase: str) -> tuple[Tumor, ...]:
    """One tumor in most patients, rarely two or three."""
    count = 1 + int(rng.choice(len(_COUNT_SHARE), p=_COUNT_SHARE))
    tumors = []
    for i in range(count):
        volume = draw_volume_ml(rng, second=i > 0)
        which = int(rng.integers(len(kidneys)))
        tumors.append(_draw_tumor(rng, (which, kidneys[which]), body, volume, phase))
    return tuple(tumors)


def draw_volume_ml(rng: np.random.Generator, *, second: bool = False) -> float:
    """A tumor's volume: log-normal about KiTS19's median; a patient's second tumor is smaller."""
    log_volume = rng.normal(math.log(_MEDIAN_ML), _LOG_SPREAD) - 1.5 * second
    return float(np.clip(math.exp(log_volume), _LOW_ML, _HIGH_ML))


def radius_mm(volume_ml: float) -> float:
    """Radius of the main lump of a tumor of that volume."""
    return float((volume_ml * 1000 * 3 / 4 / math.pi / _LUMPS_FACTOR) ** (1 / 3))


def _draw_tumor(rng: np.random.Generator, host: tuple[int, Kidney], body: Body, volume_ml: float, phase: str) -> Tumor:
    radius = radius_mm(volume_ml)
    lumps = draw_lumps(rng, _place(rng, host[1], body, radius), radius)
    return draw_tissue(rng, host[0], lumps, radius, phase)


def draw_lumps(rng: np.random.Generator, centre: Point, radius: float) -> tuple[Ellipsoid, ...]:
    """A lobed outline: a bumpy ellipsoid, the main lump, and two smaller ones that grow out of it."""
    stretch = np.exp(rng.normal(0, 0.14, 3))
    stretch *= radius / float(np.prod(stretch)) ** (1 / 3)
    axes = turned(*(float(angle) for angle in rng.uniform(0, math.pi, 3)))
    bump, waves = 0.07 * radius * float(rng.uniform(0.2, 1.2)), Waves.draw(rng, 1.4 * radius, 5)
    lumps = [Ellipsoid(centre, (float(stretch[0]), float(stretch[1]), float(stretch[2])), axes, bump, waves)]
    for _ in range(2):
        aside = rng.normal(size=3)
        aside *= radius * float(rng.uniform(0.3, 0.75)) / float(np.linalg.norm(aside))
        z, y, x = (float(c + a) for c, a in zip(centre, aside, strict=True))
        size = radius * float(rng.uniform(0.4, 0.7))
        lumps.append(Ellipsoid((z, y, x), (size, size, size), axes, bump, waves))
    return tuple(lumps)


def _place(rng: np.random.Generator, kidney: Kidney, body: Body, radius: float) -> Point:
    """A centre near the kidney's surface that leaves the tumor most of its room; the roomiest of some tries."""
    best, best_room = kidney.centre, -math.inf
    for _ in range(30):
        u, v, w = surface_direction(rng)
        # -0.9 is buried, 0.55 hangs off; a big one displaces the kidney rather than replacing it
        out = radius * float(rng.uniform(-0.9, 0.55) if radius < _BIG_MM else rng.uniform(0.5, 0.7))
        out = min(out, radius - _ROOT_MM)
        z, y, x = (p + out * n for p, n in zip(kidney.point(u, v, w), kidney.direction(u, v, w), strict=True))
        wall = -float(body.outside(np.array([[z, y, x]]))[0])
        spine = math.hypot(y - body.spine_y, x) - 25
        room = min(wall, spine, kidney.side * x - 10)
        if room > 0.8 * radius:
            return z, y, x
        if room > best_room:
            best, best_room = (z, y, x), room
    return best


def draw_tissue(rng: np.random.Generator, which: int, lumps: tuple[Ellipsoid, ...], radius: float, phase: str) -> Tumor:
    """A tumor of a random subtype in that outline."""
    names = tuple(SUBTYPES)
    subtype = names[int(rng.choice(len(names), p=[SUBTYPES[name][0] for name in names]))]
    _, by_phase, uneven = SUBTYPES[subtype]
    enhanced = phase != "unenhanced"
    hu = by_phase[PHASES.index(phase)] + float(np.clip(rng.normal(), -1.8, 1.8)) * (15 if enhanced else 4)
    likely = 0.15 + 0.6 * min(1.0, radius / 35) if subtype != "oncocytoma" else 0.1
    return Tumor(
        kidney=which,
        lumps=lumps,
        hu=hu,
        uneven_hu=uneven * (1.0 if enhanced else 0.15),
        texture=Waves.draw(rng, min(14.0, 0.8 * radius), 12),
        coarse=Waves.draw(rng, 1.1 * radius, 9),
        necrosis=float(rng.uniform(0.25, 0.8)) if rng.random() < likely else 0.0,
        necrosis_hu=float(rng.uniform(12, 34)),
        rim_hu=float(rng.uniform(0, 12)) * enhanced,
        subtype=subtype,
    )


def paint_tumor(canvas: Canvas, body: Body, kidney: Kidney, tumor: Tumor, fat_hu: float) -> None:
    """Draw one tumor, HU and label, in a thin shell of fat, inside the cavity and on its kidney's side."""
    box = canvas.grid.box(*bounds(tumor.lumps, 2))
    if box is None:
        return
    distance = outline(tumor.lumps, box)
    limit = np.maximum(body.beyond_retroperitoneum(box) + 1.5, -kidney.side * box.x - 25)
    lifted = 0.75 * (body.dome(box.y[0], box.x[0])[None] - box.z) - 40  # a tumor may lift the diaphragm
    limit = np.maximum(limit, lifted)
    distance = np.maximum(distance, limit)
    halo = np.maximum(distance - min(5.0, 0.8 * kidney.fat_mm), limit)
    canvas.blend(box, canvas.cover(halo) * (canvas.labels[box.slices] == BACKGROUND), fat_hu)
    canvas.blend(box, canvas.cover(distance), tissue_hu(tumor, box, distance))
    canvas.labels[box.slices][distance < 0] = TUMOR


def bounds(lumps: tuple[Ellipsoid, ...], margin_mm: float) -> tuple[Point, Point]:
    """Corners of the axis-aligned box around all lumps and a margin."""
    low, high = zip(*(lump.bounds(margin_mm) for lump in lumps), strict=True)
    z, y, x = (min(corner) for corner in zip(*low, strict=True))
    zz, yy, xx = (max(corner) for corner in zip(*high, strict=True))
    return (z, y, x), (zz, yy, xx)


def outline(lumps: tuple[Ellipsoid, ...], box: Box) -> Array:
    """Signed distance to the lumps grown together, in mm."""
    distance = lumps[0].distance(box)
    for lump in lumps[1:]:
        distance = _smooth_union(distance, lump.distance(box), 0.3 * min(lump.radii))
    return distance


def tissue_hu(tumor: Tumor, box: Box, distance: Array) -> Array:
    """HU inside a tumor: its solid part's, uneven, a brighter rim, and the necrotic core, from the signed distance."""
    fine, coarse = tumor.texture.at(box), tumor.coarse.at(box)
    radius = sum(tumor.lumps[0].radii) / 3
    hu = tumor.hu + tumor.uneven_hu * (0.7 * fine + 0.6 * coarse)
    hu = hu + tumor.rim_hu * np.exp(np.minimum(distance, 0) / (0.15 * radius))
    if tumor.necrosis:
        depth = -distance / radius + 0.25 * coarse + 0.12 * fine
        core = np.clip((depth - (1 - tumor.necrosis)) * 5, 0, 1)
        hu = hu + core * (tumor.necrosis_hu - hu)
    return np.asarray(hu)


def _smooth_union(a: Array, b: Array, blend_mm: float) -> Array:
    """Polynomial smooth minimum (I. Quilez): two lumps grown together without a crease."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend_mm, 0, 1)
    return np.asarray(b + (a - b) * h - blend_mm * h * (1 - h))
