"""Renal cysts as KiTS23 labels them: how many, how large, where, with what inside.

Measured on the labels of its cases 0 to 59 (components of label 3 of at least 0.02 mL):

    cases with a cyst              18 of 60: one in 10 of them, at most eight
    volume, mL                     0.05, 0.42, 1.19, 4.1, 75 (min, quartiles, max) of 43
    radius of the ball, mm         log-normal, median 7.2, standard deviation of the logarithm 0.59; 2.5 to 26
    share of the surface to kidney 0.29, 0.46, 0.67, 0.90, 1.00 (min, quartiles, max); none touches no kidney
    touching a tumor               5 of 43, over at most 0.29 of the surface

More phantoms than 18 of 60 have one, as there is the more to learn from.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from kits_submit.phantom.cysts import Cyst, Septum
from kits_submit.phantom.kidneys import Kidney, surface_direction
from kits_submit.phantom.shapes import Ellipsoid

MEDIAN_MM, LOG_SPREAD, SMALLEST_MM, LARGEST_MM = 7.2, 0.59, 2.5, 26.0
_COUNT = (0.6, 0.25, 0.1, 0.05)  # a kidney
_FLUID_HU = (8.0, 6.0)  # simple fluid is 0 to 20 HU (Silverman et al.)
_SEPTATE_FROM_MM, _SEPTATE_SHARE = 9.0, 0.3
_SEPTUM_HU = (35.0, 8.0)


def with_cysts(rng: np.random.Generator, kidney: Kidney) -> Kidney:
    """The kidney with cysts drawn anew."""
    return replace(kidney, cysts=tuple(_draw(rng, kidney) for _ in range(int(rng.choice(len(_COUNT), p=_COUNT)))))


def draw_radius_mm(rng: np.random.Generator) -> float:
    """Of the ball of a cyst's volume."""
    return float(np.clip(math.exp(rng.normal(math.log(MEDIAN_MM), LOG_SPREAD)), SMALLEST_MM, LARGEST_MM))


def draw_septa(rng: np.random.Generator, radius_mm: float) -> tuple[Septum, ...]:
    """None in most; one to three through a larger one."""
    if radius_mm < _SEPTATE_FROM_MM or rng.random() >= _SEPTATE_SHARE:
        return ()
    septa = []
    for _ in range(int(rng.integers(1, 4))):
        normal = rng.normal(size=3)
        z, y, x = (float(part) for part in normal / np.linalg.norm(normal))
        septa.append(Septum((z, y, x), radius_mm * float(rng.uniform(-0.5, 0.5)), float(rng.normal(*_SEPTUM_HU))))
    return tuple(septa)


def _draw(rng: np.random.Generator, kidney: Kidney) -> Cyst:
    u, v, w = surface_direction(rng)
    radius = draw_radius_mm(rng)
    normal = kidney.direction(u, v, w)
    out = radius * float(rng.uniform(-0.9, 0.35))
    z, y, x = (p + out * n for p, n in zip(kidney.point(u, v, w), normal, strict=True))
    stretch = math.exp(float(rng.normal(0, 0.08)))
    ball = Ellipsoid((z, y, x), (radius * stretch, radius / stretch, radius))
    return Cyst(ball, float(np.clip(rng.normal(*_FLUID_HU), -5, 22)), draw_septa(rng, radius))
