"""The trunk drawn slice by slice: skin, fat, muscle wall, ribs, pelvis, lungs, and the couch below."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kits_submit.phantom.body import Body, ramp
from kits_submit.phantom.phases import Tissues
from kits_submit.phantom.shapes import Box, Canvas, Waves
from kits_submit.types import Array

AIR_HU = -1000.0
_BINS = 2048  # directions in which the layers' radii are tabulated
_RIB_STEP_MM = 29.0


def paint_torso(canvas: Canvas, body: Body, tissues: Tissues, rng: np.random.Generator) -> None:
    """Fill the canvas: air, the body's layers, lungs and couch. Nothing is drawn before this."""
    grid = canvas.grid
    z, y, x = grid.axes
    radius = np.hypot(y[:, None], x[None, :])
    bins = ((np.arctan2(y[:, None], x[None, :]) / (2 * math.pi) + 0.5) * _BINS).astype(np.int32) % _BINS
    angle = ((np.arange(_BINS) + 0.5) / _BINS - 0.5) * 2 * math.pi
    skin, wall, cavity = (
        layer(angle[None, :], z[:, None]).astype(np.float32) for layer in (body.skin, body.wall, body.cavity)
    )
    dome = body.dome(y[:, None], x[None, :])
    backdrop = _couch(y, x, float(skin.max(initial=0, where=np.sin(angle)[None, :] > 0.95)), rng)
    textures = _Textures(rng, canvas)
    for i, height in enumerate(z):
        plane = _Plane(canvas, canvas.hu[i], radius, bins, float(height), tissues, textures)
        plane.image[...] = backdrop
        _layers(plane, skin[i], wall[i], cavity[i])
        _bones(plane, body, angle, wall[i], cavity[i])
        _lungs(plane, cavity[i], dome)


class _Textures:
    """Slow patterns of fat, muscle and lung; drawn once, evaluated slice by slice."""

    def __init__(self, rng: np.random.Generator, canvas: Canvas) -> None:
        self.fat, self.muscle, self.lung = (Waves.draw(rng, length, 4) for length in (45.0, 16.0, 26.0))
        self._y, self._x = canvas.grid.axes[1][None, :, None], canvas.grid.axes[2][None, None, :]

    def at(self, waves: Waves, height: float) -> Array:
        sheet = Box((slice(0), slice(0), slice(0)), np.full((1, 1, 1), height, np.float32), self._y, self._x)
        return np.asarray(waves.at(sheet)[0])


@dataclass(frozen=True)
class _Plane:
    """One slice being drawn: distance from the trunk's axis and direction bin of each pixel (YX)."""

    canvas: Canvas
    image: Array
    radius: Array
    bins: Array
    height: float
    tissues: Tissues
    textures: _Textures

    def cover(self, distance: Array, hu: Array | float, most: Array | float = 1.0) -> None:
        """Draw tissue of `hu` where `distance` is negative, at `most` as its largest part of a pixel."""
        self.image[...] += self.canvas.cover(distance) * most * (hu - self.image)


def _layers(plane: _Plane, skin_bins: Array, wall_bins: Array, cavity_bins: Array) -> None:
    """Skin, subcutaneous fat, muscle wall with its fat planes, and the cavity's fat with strands."""
    skin, wall, cavity = (plane.radius - layer[plane.bins] for layer in (skin_bins, wall_bins, cavity_bins))
    strands = plane.textures.at(plane.textures.fat, plane.height)
    fat = plane.tissues.fat + 5 * strands
    grain = plane.textures.at(plane.textures.muscle, plane.height)
    muscle = plane.tissues.muscle + 6 * grain - 75 * np.clip(grain - 0.9, 0, 1)
    plane.cover(skin, 0.0)
    plane.cover(skin + 2, fat)
    plane.cover(wall, muscle)
    thick = cavity - wall
    plane.cover(np.abs(cavity - 0.45 * thick) - 0.5, plane.tissues.fat, np.clip((thick - 8) / 30, 0, 0.5))
    plane.cover(cavity, fat + 6 + 60 * np.clip(np.abs(strands) - 1.5, 0, 0.8))


def _bones(plane: _Plane, body: Body, angle: Array, wall: Array, cavity: Array) -> None:
    """Ribs as slanting rings in the wall, and the iliac wings as curved plates below the crest."""
    height, tissues = plane.height, plane.tissues
    middle = cavity + np.minimum(0.5 * (wall - cavity), 9)
    around = np.abs(angle - math.pi / 2)
    around = np.minimum(around, 2 * math.pi - around)  # 0 at the back, pi in front
    along = (height - 75 * around + _RIB_STEP_MM / 2) % _RIB_STEP_MM - _RIB_STEP_MM / 2
    end = -38 + 55 * np.minimum(around, 1.5) - 150 * ramp(around, 1.7, 3.0)  # costal margin
    rib = np.where((height - 8 > end) | (around < 0.25), 99.0, along * 0.62)
    ilium = np.where((around > 0.35) & (around < 1.65), 0.0, 99.0)
    ilium = ilium + np.clip(body.crest_z + 35 * np.cos(around) ** 2 - height, 0, 99)
    for bone, thick in ((rib, 3.7), (ilium, 5.0)):
        if float(np.abs(bone).min()) < thick + 2:
            offset = np.minimum(bone, 99).astype(np.float32)[plane.bins]
            distance = np.hypot(plane.radius - middle[plane.bins], offset) - thick
            plane.cover(distance, tissues.cortical_bone)
            plane.cover(distance + 2.2, tissues.marrow)


def _lungs(plane: _Plane, cavity: Array, dome: Array) -> None:
    """Lung above the diaphragm, with vessels as the crests of a texture."""
    distance = np.maximum(plane.radius - cavity[plane.bins] + 2, 0.7 * (plane.height - dome))
    if float(distance.min()) > plane.canvas.soft_mm:
        return
    crests = np.abs(plane.textures.at(plane.textures.lung, plane.height)) - 1.75
    plane.cover(distance - 2.5, plane.tissues.muscle)
    plane.cover(distance, plane.tissues.lung + 900 * np.clip(crests, 0, 0.5))


def _couch(y: Array, x: Array, back: float, rng: np.random.Generator) -> Array:
    """Air with a thin curved couch top under the back, as one slice."""
    top = back + float(rng.uniform(4, 28)) - x[None, :] ** 2 / float(rng.uniform(900, 2600))
    shell = np.abs(y[:, None] - top) - float(rng.uniform(0.6, 1.6))
    edge = np.abs(x[None, :]) - float(rng.uniform(190, 230))
    part = np.clip(0.5 - np.maximum(shell, edge), 0, 1)
    low = np.abs(y[:, None] - back - float(rng.uniform(55, 80))) - 1
    part = part + np.clip(0.5 - np.maximum(low, np.abs(x[None, :]) - 110), 0, 1)
    return np.asarray(AIR_HU + np.clip(part, 0, 1) * float(rng.uniform(600, 1200)), np.float32)
