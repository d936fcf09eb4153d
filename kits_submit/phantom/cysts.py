"""What a cyst is in a phantom and how it is drawn: a ball of fluid in or on the kidney, with septa in some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kits_submit.phantom.body import Body
from kits_submit.phantom.shapes import Box, Canvas, Ellipsoid, Point
from kits_submit.types import Array

SEPTUM_MM = 1.2  # Bosniak's thin septum is at most 2 mm thick (Silverman et al., Radiology 2019;292:475)


@dataclass(frozen=True)
class Septum:
    """A thin wall through a cyst: the plane `offset_mm` along `normal` from its centre."""

    normal: Point
    offset_mm: float
    hu: float

    def distance(self, box: Box, centre: Point) -> Array:
        """Signed distance in mm to its surface."""
        along = sum(
            (grid - middle) * part
            for grid, middle, part in zip((box.z, box.y, box.x), centre, self.normal, strict=True)
        )
        return np.asarray(np.abs(along - self.offset_mm) - SEPTUM_MM / 2)


@dataclass(frozen=True)
class Cyst:
    """A fluid-filled ball in or on the kidney."""

    ball: Ellipsoid
    hu: float
    septa: tuple[Septum, ...] = ()


def paint_cyst(canvas: Canvas, body: Body, cyst: Cyst, label: int) -> None:
    """Draw one, HU and label, on its own side of the retroperitoneum."""
    box = canvas.box(cyst.ball)
    if box is None:
        return
    inside = np.maximum(cyst.ball.distance(box), body.beyond_retroperitoneum(box) + 1.5)
    canvas.blend(box, canvas.cover(inside), cyst.hu)
    for septum in cyst.septa:
        wall = np.maximum(inside, septum.distance(box, cyst.ball.centre))
        canvas.blend(box, canvas.cover(wall), septum.hu)
    canvas.labels[box.slices][inside < 0] = label
