"""Contrast phases and the HU of every tissue in them.

Means follow the usual teaching values of multiphase renal CT (unenhanced; corticomedullary about 30 s,
nephrographic about 90 s, excretory after 3 min: Sheth et al., RadioGraphics 2001;21:S237 and Young et al.,
Radiology 2013;267:444 for renal tumor subtypes by phase), the spread is between patients.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

PHASES = ("unenhanced", "corticomedullary", "nephrographic", "excretory")
# KiTS is preoperative contrast CT, most of it late arterial; a few cases carry little or much delay.
PHASE_SHARE = (0.04, 0.52, 0.38, 0.06)


@dataclass(frozen=True)
class Tissues:
    """HU of one patient's tissues in one phase."""

    fat: float
    muscle: float
    marrow: float
    cortical_bone: float
    lung: float
    cortex: float
    medulla: float
    urine: float
    aorta: float
    vein: float
    renal_vein: float
    portal: float
    liver: float
    spleen: float
    pancreas: float
    gut_wall: float
    bile: float


#   mean and standard deviation between patients: unenhanced, corticomedullary, nephrographic, excretory
_TABLE: dict[str, tuple[tuple[float, float], ...]] = {
    "fat": ((-103, 5), (-103, 5), (-102, 5), (-102, 5)),
    "muscle": ((50, 5), (56, 6), (60, 6), (58, 6)),
    "marrow": ((160, 40), (170, 40), (175, 40), (170, 40)),
    "cortical_bone": ((520, 90), (530, 90), (530, 90), (530, 90)),
    "lung": ((-840, 25), (-835, 25), (-835, 25), (-840, 25)),
    "cortex": ((32, 3), (182, 26), (188, 20), (145, 15)),
    "medulla": ((31, 3), (92, 20), (172, 20), (150, 15)),
    "urine": ((5, 4), (8, 6), (22, 15), (480, 180)),
    "aorta": ((41, 4), (265, 50), (152, 15), (118, 10)),
    "vein": ((40, 4), (98, 25), (140, 15), (115, 10)),
    "renal_vein": ((40, 4), (160, 25), (148, 15), (116, 10)),
    "portal": ((41, 4), (125, 30), (155, 15), (115, 10)),
    "liver": ((56, 6), (78, 12), (108, 12), (94, 10)),
    "spleen": ((48, 4), (128, 15), (122, 12), (100, 9)),
    "pancreas": ((38, 6), (92, 15), (85, 12), (70, 10)),
    "gut_wall": ((38, 6), (82, 15), (80, 12), (68, 10)),
    "bile": ((8, 5), (8, 5), (9, 5), (10, 6)),
}

# Tumor subtypes: share, then HU by phase of the solid part, and its unevenness as a standard deviation.
# Clear cell enhances early and unevenly, papillary little and evenly, chromophobe and oncocytoma between.
SUBTYPES: dict[str, tuple[float, tuple[float, float, float, float], float]] = {
    "clear cell": (0.66, (33, 128, 108, 88), 24.0),
    "papillary": (0.12, (34, 58, 72, 68), 8.0),
    "chromophobe": (0.12, (34, 88, 92, 78), 12.0),
    "oncocytoma": (0.10, (34, 115, 112, 90), 11.0),
}


def typical_hu(tissue: str, phase: str) -> float:
    """Mean over patients of a tissue of `Tissues` in one of `PHASES`."""
    return _TABLE[tissue][PHASES.index(phase)][0]


def draw_phase(rng: np.random.Generator) -> str:
    """One of `PHASES`, as often as KiTS has it."""
    return PHASES[int(rng.choice(len(PHASES), p=PHASE_SHARE))]


def draw_tissues(rng: np.random.Generator, phase: str) -> Tissues:
    """One patient's tissues; enhanced tissues share a dose factor, as bolus and weight are shared."""
    column = PHASES.index(phase)
    shared = float(np.clip(rng.normal(), -2, 2))
    values = {}
    for field in fields(Tissues):
        mean, spread = _TABLE[field.name][column]
        own = float(np.clip(rng.normal(), -2, 2))
        enhances = field.name not in {"fat", "marrow", "cortical_bone", "lung", "bile"}
        values[field.name] = mean + spread * (0.7 * shared + 0.7 * own if enhances else own)
    values["medulla"] = min(values["medulla"], values["cortex"] - 3 if phase != "excretory" else 400.0)
    return Tissues(**values)
