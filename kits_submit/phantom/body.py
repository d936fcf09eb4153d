"""The trunk's outline and layers in polar form: how far skin, muscle wall and cavity reach at each angle.

Angles are `arctan2(y, x)`: 0 is the patient's left, pi/2 the back, -pi/2 the front.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kits_submit.phantom.shapes import Box
from kits_submit.types import Array


@dataclass(frozen=True)
class Body:
    """One trunk. Lengths in mm, measured from the trunk's axis.

    half_width, front, back: the abdominal cavity's reach to the side, to the front and to the back.
    fat, fat_front: subcutaneous fat's thickness at the flank and its factor in front.
    side_wall, back_wall: the muscle wall's thickness. squareness: superellipse exponent.
    ripple: amplitude and phase of the outline's Fourier terms 2 to 4.
    """

    half_width: float
    front: float
    back: float
    fat: float
    fat_front: float
    side_wall: float
    back_wall: float
    squareness: float
    ripple: tuple[tuple[float, float], ...]
    spine_y: float
    dome_z: float
    crest_z: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Body:
        """A random adult, lean to obese."""
        size = _bounded(rng, 1.0, 0.055, 0.88, 1.13)
        weight = float(rng.beta(1.4, 2.8))  # 0 lean, 1 very obese
        back = size * _bounded(rng, 68, 3, 62, 74)
        return cls(
            half_width=size * (118 + 24 * weight + float(rng.uniform(-4, 6))),
            front=size * (70 + 50 * weight + float(rng.uniform(0, 12))),
            back=back,
            fat=5 + 40 * weight * float(rng.uniform(0.55, 1.1)),
            fat_front=float(rng.uniform(0.8, 1.4)),
            side_wall=size * float(rng.uniform(10, 16)),
            back_wall=size * float(rng.uniform(26, 36)),
            squareness=float(rng.uniform(2.15, 2.6)),
            ripple=tuple((float(rng.uniform(0, 0.012)), float(rng.uniform(0, 2 * math.pi))) for _ in range(3)),
            spine_y=back - size * float(rng.uniform(33, 38)),
            dome_z=float(rng.uniform(-150, -112)),
            crest_z=float(rng.uniform(95, 125)),
        )

    def cavity(self, angle: Array, z: Array | float) -> Array:
        """Radius of the cavity, inside the muscle wall."""
        c, s = np.abs(np.cos(angle)), np.sin(angle)
        depth = np.where(s > 0, self.back, self.front * (1 - 0.10 * ramp(z, -60, -160) - 0.12 * ramp(z, 80, 220)))
        width = self.half_width * (
            1 + 0.03 * np.sin((z + 40) / 70) - 0.07 * ramp(z, -70, -200) - 0.1 * ramp(z, 90, 190)
        )
        n = self.squareness
        radius = ((c / width) ** n + (np.abs(s) / depth) ** n) ** (-1 / n)
        wobble = sum(size * np.sin((k + 2) * angle + phase) for k, (size, phase) in enumerate(self.ripple))
        return np.asarray(radius * (1 + wobble))

    def wall(self, angle: Array, z: Array | float) -> Array:
        """Radius of the muscle wall's outer face."""
        s = np.sin(angle)
        behind = np.clip(s, 0, 1) ** 3
        recti = 3.0 * np.exp(-(((np.abs(angle + math.pi / 2) - 0.35) / 0.25) ** 2))
        gluteal = 26.0 * ramp(z, 110, 190) * np.clip(s + 0.45, 0, 1)
        groove = 9.0 * np.exp(-(((angle - math.pi / 2) / 0.10) ** 2))
        thick = self.side_wall * (1 - 0.25 * np.clip(-s, 0, 1)) + (self.back_wall - self.side_wall) * behind
        return np.asarray(self.cavity(angle, z) + thick + recti + gluteal - groove)

    def skin(self, angle: Array, z: Array | float) -> Array:
        """Radius of the skin."""
        s = np.sin(angle)
        front, back = np.clip(-s, 0, 1), np.clip(s, 0, 1)
        fat = self.fat * (1 + (self.fat_front - 1) * front + 0.1 * back - 0.25 * back**6)
        fat = fat * (0.75 + 0.45 * ramp(z, -120, 160))
        return np.asarray(self.wall(angle, z) + 3 + fat)

    def dome(self, y: Array, x: Array) -> Array:
        """Height z of the diaphragm over the points (y, x): lung lies above it, abdomen below."""
        angle = np.arctan2(y, x)
        reach = np.hypot(y, x) / self.cavity(angle, -80.0)
        fall = 62 + 26 * np.clip(np.sin(angle), -0.6, 1)
        left = 12 * ramp(x, -20, 40)
        cleft = 28 * np.exp(-((x / 32) ** 2))  # the crura hold the middle down
        return np.asarray(self.dome_z + left + cleft + fall * np.clip(reach, 0, 1.1) ** 3, np.float32)

    def beyond_wall(self, box: Box) -> Array:
        """About the signed distance to the cavity's wall at every voxel of `box`, negative in the cavity."""
        angle = np.arctan2(box.y, box.x)
        top, bottom = float(box.z.min()), float(box.z.max())
        above, below = (self.cavity(angle, z).astype(np.float32) for z in (top, bottom))
        share = (box.z - top) / max(bottom - top, 1.0)
        return np.asarray(np.hypot(box.y, box.x) - (above + share * (below - above)))

    def beyond_retroperitoneum(self, box: Box) -> Array:
        """As `beyond_wall`, the spine, the great vessels before it and the muscles behind it also outside."""
        behind = box.y - np.float32(self.spine_y)
        spine = 25 - np.hypot(behind, box.x)
        vessels = 25 - np.hypot(behind + 28, box.x)
        erectors = np.minimum(behind - 24, 48 - np.abs(box.x))
        return np.asarray(np.maximum(np.maximum(self.beyond_wall(box), erectors), np.maximum(spine, vessels)))

    def outside(self, points: Array) -> Array:
        """How far points (n, 3) z, y, x stick out of the cavity, in mm; negative inside."""
        z, y, x = points[:, 0], points[:, 1], points[:, 2]
        return np.asarray(np.hypot(y, x) - self.cavity(np.arctan2(y, x), z))


def ramp(value: Array | float, start: float, end: float) -> Array:
    """Smooth step from 0 at `start` to 1 at `end` (which may lie below `start`)."""
    t = np.clip((np.asarray(value) - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _bounded(rng: np.random.Generator, mean: float, spread: float, low: float, high: float) -> float:
    return float(np.clip(rng.normal(mean, spread), low, high))
