"""Implicit shapes in millimetres and how they soften into voxels.

Every shape tells its signed distance to the points of a `Box` (negative inside, about exact near the
surface) and its own bounding box, so a volume is only ever evaluated where something is drawn. The
patient's frame has its origin on the midline at mid-kidney height; points are (z, y, x) in mm, z towards
the feet, y towards the back, x towards the patient's left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kits_submit.types import Array, Image, Labels, Shape, Spacing

Point = tuple[float, float, float]  # z, y, x in mm
Axes = tuple[Point, Point, Point]  # rows: unit vectors of a shape's own axes

NO_TURN: Axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Box:
    """Part of a grid: where it sits, and its voxel centres as z (n,1,1), y (1,n,1), x (1,1,n), in mm."""

    slices: tuple[slice, slice, slice]
    z: Array
    y: Array
    x: Array


@dataclass(frozen=True)
class Grid:
    """Voxel centres: `first_mm + index * spacing_mm` along each axis, in the patient's frame."""

    first_mm: Point
    spacing_mm: Spacing
    shape: Shape

    @cached_property
    def axes(self) -> tuple[Array, Array, Array]:
        """Coordinates of the voxel centres along Z, Y and X in mm, float32."""
        z, y, x = (
            (np.arange(n) * step + first).astype(np.float32)
            for n, step, first in zip(self.shape, self.spacing_mm, self.first_mm, strict=True)
        )
        return z, y, x

    def box(self, low: Point, high: Point) -> Box | None:
        """The voxels whose centres lie from `low` to `high`; None where the grid has none."""
        slices = []
        for n, step, first, lo, hi in zip(self.shape, self.spacing_mm, self.first_mm, low, high, strict=True):
            start = max(0, math.ceil((lo - first) / step))
            stop = min(n, math.floor((hi - first) / step) + 1)
            if start >= stop:
                return None
            slices.append(slice(start, stop))
        z, y, x = (axis[part] for axis, part in zip(self.axes, slices, strict=True))
        return Box((slices[0], slices[1], slices[2]), z[:, None, None], y[None, :, None], x[None, None, :])


@dataclass(frozen=True)
class Waves:
    """A smooth random field of unit variance: a sum of plane waves, the same at every voxel size.

    vectors: (n, 3) wave vectors in radians per mm along z, y, x. phases: (n,) radians.
    """

    vectors: tuple[Point, ...]
    phases: tuple[float, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength_mm: float, count: int = 5) -> Waves:
        """Waves of random direction, each between 0.7 and 1.6 times `wavelength_mm` long."""
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        directions *= (2 * math.pi / (wavelength_mm * rng.uniform(0.7, 1.6, count)))[:, None]
        phases = rng.uniform(0, 2 * math.pi, count)
        return cls(tuple((float(z), float(y), float(x)) for z, y, x in directions), tuple(map(float, phases)))

    def at(self, box: Box) -> Array:
        """The field's value at every voxel of `box`."""
        total: Array = np.zeros((), np.float32)
        for (kz, ky, kx), phase in zip(self.vectors, self.phases, strict=True):
            total = total + np.sin(((box.z * kz + phase) + box.y * ky) + box.x * kx)
        return total * math.sqrt(2 / len(self.phases))


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, its surface moved in and out by `bump_mm * waves`."""

    centre: Point
    radii: Point
    axes: Axes = NO_TURN
    bump_mm: float = 0.0
    waves: Waves | None = None

    def bounds(self, margin_mm: float) -> tuple[Point, Point]:
        """Corners of the axis-aligned box around the shape and a margin."""
        reach = [
            math.hypot(*(row[i] * radius for row, radius in zip(self.axes, self.radii, strict=True)))
            + margin_mm
            + 3 * self.bump_mm
            for i in range(3)
        ]
        z, y, x = self.centre
        return (z - reach[0], y - reach[1], x - reach[2]), (z + reach[0], y + reach[1], x + reach[2])

    def distance(self, box: Box) -> Array:
        """Signed distance in mm: k0 (k0 - 1) / k1 with k0 = |q / r|, k1 = |q / r^2| (I. Quilez, 'Ellipsoid SDF')."""
        q = local(box, self.centre, self.axes)
        distance = ellipsoid_distance(q, self.radii)
        if self.waves is not None:
            distance += self.bump_mm * self.waves.at(box)
        return distance


@dataclass(frozen=True)
class Capsule:
    """A straight round tube from `start` to `end`, its radius changing linearly between them."""

    start: Point
    end: Point
    radius: float
    end_radius: float | None = None

    def bounds(self, margin_mm: float) -> tuple[Point, Point]:
        """Corners of the axis-aligned box around the shape and a margin."""
        reach = max(self.radius, self.end_radius or 0.0) + margin_mm
        z, y, x = (min(a, b) - reach for a, b in zip(self.start, self.end, strict=True))
        zz, yy, xx = (max(a, b) + reach for a, b in zip(self.start, self.end, strict=True))
        return (z, y, x), (zz, yy, xx)

    def distance(self, box: Box) -> Array:
        """Signed distance in mm."""
        dz, dy, dx = box.z - self.start[0], box.y - self.start[1], box.x - self.start[2]
        az, ay, ax = (b - a for a, b in zip(self.start, self.end, strict=True))
        along = (dz * az + dy * ay) + dx * ax
        along = np.clip(along / max(az * az + ay * ay + ax * ax, 1e-6), 0, 1)
        gap = np.sqrt((dz - along * az) ** 2 + (dy - along * ay) ** 2 + (dx - along * ax) ** 2)
        end = self.radius if self.end_radius is None else self.end_radius
        return gap - (self.radius + along * (end - self.radius))


Solid = Ellipsoid | Capsule


def local(box: Box, centre: Point, axes: Axes) -> tuple[Array, Array, Array]:
    """Coordinates of the voxels of `box` along a shape's own axes, in mm from its centre."""
    dz, dy, dx = box.z - centre[0], box.y - centre[1], box.x - centre[2]
    u, v, w = ((dz * row[0] + dy * row[1]) + dx * row[2] for row in axes)
    return u, v, w


def ellipsoid_distance(q: tuple[Array, Array, Array], radii: Point) -> Array:
    """Signed distance to an axis-aligned ellipsoid at the origin, for points `q` in its own axes."""
    u, v, w = (part / radius for part, radius in zip(q, radii, strict=True))
    k0 = np.sqrt(u * u + v * v + w * w)
    u, v, w = (part / radius for part, radius in zip((u, v, w), radii, strict=True))
    k1 = np.maximum(np.sqrt(u * u + v * v + w * w), np.float32(1e-9))
    distance: Array = k0 * (k0 - 1) / k1
    return np.where(k0 < 0.1, np.float32(-0.9 * min(radii)), distance)


def turned(roll: float, tilt: float, yaw: float) -> Axes:
    """Axes turned by angles in radians about x (roll), y (tilt), then z (yaw)."""
    cr, sr, ct, st, cy, sy = (f(a) for a in (roll, tilt, yaw) for f in (math.cos, math.sin))
    about_x = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    about_y = np.array([[ct, 0, -st], [0, 1, 0], [st, 0, ct]])
    about_z = np.array([[1, 0, 0], [0, cy, -sy], [0, sy, cy]])
    rows = (about_z @ about_y @ about_x).T
    u, v, w = ((float(z), float(y), float(x)) for z, y, x in rows)
    return u, v, w


@dataclass(frozen=True)
class Canvas:
    """What is being drawn: HU and labels on one grid. Later paint covers earlier paint."""

    grid: Grid
    hu: Image
    labels: Labels

    @property
    def soft_mm(self) -> float:
        """Width over which an edge passes from one tissue to the next: a pixel, at least 1 mm of scanner blur."""
        return max(1.0, self.grid.spacing_mm[1], self.grid.spacing_mm[2])

    def cover(self, distance: Array) -> Array:
        """The part of each voxel that lies inside a surface, 0 to 1, from the signed distance in mm."""
        return np.clip(0.5 - distance * (1 / self.soft_mm), 0, 1)

    def blend(self, box: Box, part: Array, hu: Array | float) -> None:
        """Replace `part` (0 to 1) of the voxels of `box` by tissue of `hu`."""
        region = self.hu[box.slices]
        region += part * (hu - region)

    def box(self, shape: Solid, margin_mm: float = 2.0) -> Box | None:
        """The grid's voxels around a shape."""
        return self.grid.box(*shape.bounds(margin_mm))

    def paint(self, shape: Solid, hu: float) -> None:
        """Draw one uniform shape."""
        box = self.box(shape)
        if box is not None:
            self.blend(box, self.cover(shape.distance(box)), hu)
