"""Patients as any hospital has them: `varied` changes one that `draw.draw_patient` drew after KiTS19's.

KiTS19 is preoperative CT of kidney tumors, most of it late arterial. Elsewhere most kidneys have no tumor, many scans
have no contrast or little, noise is higher, and organs lie beside each other in any order of brightness:

    contrast   unenhanced in 30 %; else each organ's HU drawn anew within what any phase gives it, spleen and liver
               seldom above the kidneys
    tumors     in `TUMOR_SHARE`; their enhancement in proportion to the cortex drawn
    kidneys    dilated pelves, shrunken ones with much sinus fat, many or large cysts
    noise      up to twice as strong
    masses     a full stomach, a large spleen, loops beside the kidneys: rounded, of any HU, some mottled with gas
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from kits_submit.phantom.body import Body
from kits_submit.phantom.cysts import Cyst
from kits_submit.phantom.kidneys import Kidney, surface_direction
from kits_submit.phantom.organs import clip_to_abdomen
from kits_submit.phantom.phases import Tissues, typical_hu
from kits_submit.phantom.scanner import Scan
from kits_submit.phantom.shapes import Canvas, Ellipsoid, Waves, turned
from kits_submit.phantom.tumors import Tumor

if TYPE_CHECKING:
    from kits_submit.phantom.draw import Patient

TUMOR_SHARE = 0.8
UNENHANCED_SHARE = 0.3
_UNENHANCED: dict[str, tuple[float, float]] = {  # mean and spread of what differs much between patients before contrast
    "cortex": (33, 4),
    "medulla": (32, 4),
    "liver": (52, 12),
    "spleen": (46, 5),
    "urine": (6, 5),
    "muscle": (52, 7),
}
_ENHANCED: dict[str, tuple[float, float]] = {  # range over all phases after injection
    "cortex": (65, 250),
    "pancreas": (45, 130),
    "gut_wall": (45, 120),
    "aorta": (90, 350),
    "vein": (60, 180),
    "renal_vein": (70, 200),
    "portal": (70, 190),
    "muscle": (40, 72),
}
_OF_CORTEX: dict[str, tuple[float, float, float, float]] = {  # HU before; share of what the cortex gains; at most
    "spleen": (47, 0.3, 1.05, 200),
    "liver": (52, 0.0, 0.95, 150),
}
_SOLID_UNENHANCED = 33.0


def varied(patient: Patient, rng: np.random.Generator) -> Patient:
    """The patient with contrast, kidneys, tumors and noise drawn anew."""
    tissues, phase = _tissues(patient.tissues, patient.phase, rng)
    kept = patient.tumors if rng.random() < TUMOR_SHARE else ()
    return replace(
        patient,
        phase=phase,
        tissues=tissues,
        kidneys=tuple(_kidney(kidney, rng) for kidney in patient.kidneys),
        tumors=tuple(_matched(tumor, patient.phase, phase, tissues) for tumor in kept),
        scan=_noisier(patient.scan, rng),
    )


def _tissues(usual: Tissues, phase: str, rng: np.random.Generator) -> tuple[Tissues, str]:
    if rng.random() < UNENHANCED_SHARE:
        names = {field.name for field in fields(Tissues)} - {"fat", "marrow", "cortical_bone", "lung", "bile"}
        drawn = {name: (typical_hu(name, "unenhanced"), 4.0) for name in names} | _UNENHANCED
        return replace(usual, **{name: float(rng.normal(*drawn[name])) for name in sorted(drawn)}), "unenhanced"
    phase = "nephrographic" if phase == "unenhanced" else phase
    values = {name: float(rng.uniform(*_ENHANCED[name])) for name in sorted(_ENHANCED)}
    gained = values["cortex"] - _SOLID_UNENHANCED
    for name, (before, low, high, most) in _OF_CORTEX.items():
        values[name] = min(before + gained * float(rng.uniform(low, high)), most)
    values["medulla"] = values["cortex"] * float(rng.uniform(0.5, 1.0))
    values["urine"] = float(rng.uniform(60, 500)) if rng.random() < 0.2 else float(rng.uniform(0, 25))
    return replace(usual, **values), phase


def _matched(tumor: Tumor, drawn_in: str, phase: str, tissues: Tissues) -> Tumor:
    """A tumor whose enhancement has the ratio to the cortex's that it was drawn with."""
    if phase == "unenhanced" or drawn_in == "unenhanced":
        scale = 0.15 if phase == "unenhanced" else 1.0
        hu = min(tumor.hu, 45.0) if phase == "unenhanced" else tumor.hu + 0.5 * (tissues.cortex - _SOLID_UNENHANCED)
        return replace(tumor, hu=hu, uneven_hu=scale * tumor.uneven_hu, rim_hu=scale * tumor.rim_hu)
    scale = (tissues.cortex - _SOLID_UNENHANCED) / (typical_hu("cortex", drawn_in) - _SOLID_UNENHANCED)
    hu = _SOLID_UNENHANCED + scale * (tumor.hu - _SOLID_UNENHANCED)
    return replace(tumor, hu=hu, uneven_hu=scale * tumor.uneven_hu, rim_hu=scale * tumor.rim_hu)


def _kidney(kidney: Kidney, rng: np.random.Generator) -> Kidney:
    kind = rng.random()
    if kind < 0.12:  # dilated
        return replace(kidney, pelvis=float(rng.uniform(1.4, 2.6)), sinus=kidney.sinus * float(rng.uniform(1.0, 1.3)))
    if kind < 0.3:  # shrunken, or much sinus fat
        small = float(rng.uniform(0.75, 1.0))
        a, b, c = (small * radius for radius in kidney.radii)
        return replace(kidney, radii=(a, b, c), sinus=kidney.sinus * float(rng.uniform(1.1, 1.4)), pelvis=0.5)
    if kind < 0.45:
        return replace(kidney, cysts=kidney.cysts + tuple(_cyst(kidney, rng) for _ in range(int(rng.integers(1, 4)))))
    return kidney


def _cyst(kidney: Kidney, rng: np.random.Generator) -> Cyst:
    u, v, w = surface_direction(rng)
    radius = float(math.exp(rng.uniform(math.log(5), math.log(32))))
    out = radius * float(rng.uniform(-0.6, 0.4))
    z, y, x = (p + out * n for p, n in zip(kidney.point(u, v, w), kidney.direction(u, v, w), strict=True))
    return Cyst(Ellipsoid((z, y, x), (radius, radius, radius)), float(np.clip(rng.normal(9, 7), -4, 28)))


def _noisier(scan: Scan, rng: np.random.Generator) -> Scan:
    return replace(scan, noise_hu=scan.noise_hu * float(math.exp(rng.uniform(-0.5, 0.8))))


def paint_masses(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    """Stomach, spleen and loops as they may be, over the usual organs and behind the kidneys, which come later."""
    if rng.random() < 0.4:  # a full stomach
        centre = (float(rng.uniform(-90, -30)), float(rng.uniform(-0.5, 0.1)) * body.front, float(rng.uniform(25, 75)))
        size = float(rng.uniform(25, 55))
        _mass(canvas, body, rng, centre, size, float(rng.uniform(0, 180)), mottle=float(rng.uniform(15, 80)))
    if rng.random() < 0.4:  # a large spleen, down beside the kidney
        centre = (float(rng.uniform(-60, 0)), 0.35 * body.back, 0.8 * body.half_width)
        _mass(canvas, body, rng, centre, float(rng.uniform(35, 60)), tissues.spleen)
    for _ in range(int(rng.integers(0, 6))):
        side = float(rng.choice((-1.0, 1.0)))
        z, y = float(rng.uniform(-80, 70)), float(rng.uniform(-0.5 * body.front, body.back))
        mottle = float(rng.uniform(0, 60)) if rng.random() < 0.3 else 0.0
        hu = float(rng.uniform(5, 220))
        _mass(canvas, body, rng, (z, y, side * float(rng.uniform(40, 100))), float(rng.uniform(10, 30)), hu, mottle)


def _mass(
    canvas: Canvas,
    body: Body,
    rng: np.random.Generator,
    centre: tuple[float, float, float],
    radius: float,
    hu: float,
    mottle: float = 0.0,
) -> None:
    stretch = np.exp(rng.normal(0, 0.25, 3)) * radius
    axes = turned(*(float(angle) for angle in rng.uniform(-0.6, 0.6, 3)))
    radii = (float(stretch[0]), float(stretch[1]), float(stretch[2]))
    shape = Ellipsoid(centre, radii, axes, 0.06 * radius, Waves.draw(rng, 1.2 * radius, 4))
    texture = Waves.draw(rng, float(rng.uniform(6, 18)), 8)
    box = canvas.box(shape)
    if box is None:
        return
    tone = np.full(tuple(part.stop - part.start for part in box.slices), hu, np.float32)
    if mottle:
        field = texture.at(box)
        tone = tone + mottle * field - 400 * (field < -1.1)
    canvas.blend(box, canvas.cover(clip_to_abdomen(body, box, shape.distance(box), 2.5)), tone)
