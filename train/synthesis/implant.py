"""Tumors and cysts drawn into real kidneys: labelled cases from scans that have none, or more from KiTS's own.

A tumor's outline, size and tissue are the phantoms' (`kits_submit.phantom.tumors`): lobed, rooted in the kidney, from
buried in it to hanging off it, solid or with a necrotic core, by subtype. What is new here is the scan around it:

- contrast: the subtype's HU against the cortex of its phase (`kits_submit.phantom.phases`, with sources) is kept as a
  ratio of enhancements and applied to the cortex that the scan has;
- mass effect: what lay where the tumor grows is partly pushed outwards (`train.synthesis.displace`), kidney, fat and
  label alike; bone and gas stay, and the tumor stops at them;
- noise of the scan's own strength and grain over the drawn tissue;
- partial volume: a voxel takes the share of tumor that its own slice thickness holds.

A cyst is kidney, as in KiTS19; with a label set that has cysts it is one, of KiTS23's sizes, septa in some. Equal seeds
give equal voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import ndimage

from kits_submit.errors import InputError
from kits_submit.labels import CYST, KIDNEY, KITS19, TUMOR, LabelSet, volume_ml
from kits_submit.phantom.cystic import draw_radius_mm, draw_septa
from kits_submit.phantom.cysts import Septum
from kits_submit.phantom.phases import typical_hu
from kits_submit.phantom.shapes import Box, Ellipsoid, Grid, Point
from kits_submit.phantom.tumors import (
    Tumor,
    bounds,
    draw_lumps,
    draw_tissue,
    draw_volume_ml,
    outline,
    radius_mm,
    tissue_hu,
)
from kits_submit.types import Array, Image, Labels, Mask, Spacing
from train.synthesis.displace import REACH, displace
from train.synthesis.scene import Host, Scene

_ATTEMPTS = 12  # places tried for one lesion
_LOOKS = 24  # directions looked at for one place
_SECOND_SHARE = 0.045  # of KiTS19's cases with a second tumor of at least 1 mL
_CYSTS = (0.5, 0.3, 0.14, 0.06)  # how likely none, one, two, three are tried; one that finds no room is left out
_CYST_MM = (3.0, 35.0)
_CYST_HU = (10.0, 9.0)
_LEAST_ML = 0.8  # KiTS19's smallest tumor
_KIDNEY_LEFT = 0.35  # of the host's volume, or the lesion has replaced it
_MARGIN_MM = 6.0
_RIGID_GAP_MM = 1.5
_UNENHANCED_HU = 33.0  # of solid renal tumors and of parenchyma alike (`phases`)
_HU_RANGE = (-1024.0, 3071.0)


@dataclass(frozen=True)
class Lesion:
    """What was drawn. `kind`: a tumor's subtype, or `cyst`."""

    kind: str
    volume_ml: float
    hu: float


@dataclass(frozen=True)
class Implanted:
    """The scan with its lesions: float32 HU and uint8 labels, Z, Y, X."""

    image: Image
    labels: Labels
    phase: str
    lesions: tuple[Lesion, ...]


def implant(
    scene: Scene, seed: int | tuple[int, ...], *, tumor_ml: float | None = None, classes: LabelSet = KITS19
) -> Implanted:
    """Draw one tumor, rarely two, and up to three cysts into the kidneys of a scan. The scene stays as it is.

    Args:
        seed: of everything random here.
        tumor_ml: the first tumor's volume, as far as there is room; drawn from KiTS19's distribution where not given.
        classes: whether a cyst is a class of its own.

    Raises:
        InputError: no place for a tumor.
    """
    rng = np.random.default_rng(seed)
    canvas = _canvas(scene)
    lesions = []
    for _ in range(int(rng.choice(len(_CYSTS), p=_CYSTS))):
        lesions += _draw_cyst(canvas, scene, rng, classes)
    lesions += _draw_tumor(canvas, scene, rng, draw_volume_ml(rng) if tumor_ml is None else tumor_ml)
    if not lesions or lesions[-1].kind == "cyst":
        raise InputError("no place for a tumor beside these kidneys", fix="take another seed or a smaller tumor")
    if rng.random() < _SECOND_SHARE:
        lesions += _draw_tumor(canvas, scene, rng, draw_volume_ml(rng, second=True))
    return _finished(canvas, scene, lesions)


def implant_cysts(scene: Scene, seed: int | tuple[int, ...], classes: LabelSet = KITS19) -> Implanted:
    """Draw one to three cysts, as far as there is room, and no tumor. The scene stays as it is."""
    rng = np.random.default_rng(seed)
    canvas = _canvas(scene)
    shares = np.array(_CYSTS[1:])
    lesions = []
    for _ in range(1 + int(rng.choice(len(shares), p=shares / shares.sum()))):
        lesions += _draw_cyst(canvas, scene, rng, classes)
    return _finished(canvas, scene, lesions)


@dataclass(frozen=True)
class _Canvas:
    image: Image
    labels: Labels
    grid: Grid


def _canvas(scene: Scene) -> _Canvas:
    grid = Grid((0.0, 0.0, 0.0), scene.spacing_mm, scene.shape)
    return _Canvas(scene.image.astype(np.float32), scene.labels.copy(), grid)


def _finished(canvas: _Canvas, scene: Scene, lesions: list[Lesion]) -> Implanted:
    np.clip(np.rint(canvas.image, out=canvas.image), *_HU_RANGE, out=canvas.image)
    return Implanted(canvas.image, canvas.labels, scene.phase, tuple(lesions))


@dataclass(frozen=True)
class _Growth:
    """A lesion's outline, the HU of its tissue from a box and the signed distance there, and its label."""

    lumps: tuple[Ellipsoid, ...]
    tissue: Callable[[Box, Array], Array]
    label: int

    def distance(self, box: Box, rigid_mm: Image) -> Array:
        """Signed distance in mm; the outline stops short of what is rigid."""
        return np.asarray(np.maximum(outline(self.lumps, box), _RIGID_GAP_MM - rigid_mm))


def _draw_tumor(canvas: _Canvas, scene: Scene, rng: np.random.Generator, millilitres: float) -> list[Lesion]:
    """The tumor drawn, nothing where no place of several was fit."""
    for _ in range(_ATTEMPTS):
        host = scene.draw_host(rng)
        radius = radius_mm(millilitres)
        # -0.9 is buried, 0.55 hangs off; what is larger than the kidney mostly hangs off
        low = -0.9 if radius < host.radius_mm else 0.2
        centre = _place(scene, host, rng, radius, float(rng.uniform(low, 0.55)) * radius)
        lumps = draw_lumps(rng, centre, radius)
        tumor = _matched(draw_tissue(rng, 0, lumps, radius, scene.phase), scene)
        drawn_ml = _fill(canvas, scene, host, _Growth(lumps, partial(tissue_hu, tumor), TUMOR), rng)
        if drawn_ml:
            return [Lesion(tumor.subtype, drawn_ml, tumor.hu)]
        millilitres = max(_LEAST_ML, 0.8 * millilitres)
    return []


def _draw_cyst(canvas: _Canvas, scene: Scene, rng: np.random.Generator, classes: LabelSet) -> list[Lesion]:
    low, high = _CYST_MM
    radius = draw_radius_mm(rng) if classes.cyst else float(low * (high / low) ** rng.random())
    host = scene.draw_host(rng)
    deepest = -0.8 if radius < 0.5 * host.radius_mm else 0.0  # a large one hangs off
    centre = _place(scene, host, rng, radius, float(rng.uniform(deepest, 0.5)) * radius)
    hu = float(rng.normal(*_CYST_HU))
    ball = Ellipsoid(centre, (radius, radius, radius))
    septa = draw_septa(rng, radius) if classes.cyst else ()
    fluid = _Growth((ball,), partial(_fluid_hu, hu, septa, centre), CYST if classes.cyst else KIDNEY)
    drawn_ml = _fill(canvas, scene, host, fluid, rng)
    return [Lesion("cyst", drawn_ml, hu)] if drawn_ml else []


def _fluid_hu(hu: float, septa: tuple[Septum, ...], centre: Point, box: Box, distance: Array) -> Array:
    """HU inside a cyst: fluid, and the share of a voxel that a septum takes."""
    filled = np.full_like(distance, hu)
    for septum in septa:
        wall = np.clip(0.5 - septum.distance(box, centre), 0, 1)
        filled += wall * (septum.hu - filled)
    return filled


def _matched(tumor: Tumor, scene: Scene) -> Tumor:
    """A tumor's enhancement scaled to the scan's: the share of the cortex's that its subtype has in this phase."""
    if scene.phase == "unenhanced":
        return tumor
    scale = (scene.cortex_hu - _UNENHANCED_HU) / (typical_hu("cortex", scene.phase) - _UNENHANCED_HU)
    return replace(
        tumor,
        hu=_UNENHANCED_HU + scale * (tumor.hu - _UNENHANCED_HU),
        uneven_hu=scale * tumor.uneven_hu,
        rim_hu=scale * tumor.rim_hu,
    )


def _place(scene: Scene, host: Host, rng: np.random.Generator, radius: float, out_mm: float) -> Point:
    """A centre `out_mm` along the outward normal of the host's surface, where the ball meets least that cannot give."""
    best, best_room = host.surface_mm[0], -1.0
    ball = _ball_points(rng) * radius
    for index in rng.integers(len(host.surface_mm), size=_LOOKS):
        centre = host.surface_mm[index] + out_mm * host.normals[index]
        room = scene.room(centre + ball, host)
        if room > best_room:
            best, best_room = centre, room
    z, y, x = (float(c) for c in best)
    return z, y, x


def _ball_points(rng: np.random.Generator, count: int = 200) -> Array:
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions * rng.random((count, 1)) ** (1 / 3))


def _fill(canvas: _Canvas, scene: Scene, host: Host, growth: _Growth, rng: np.random.Generator) -> float:
    """Draw one lesion into image and labels; its mL, or 0 and nothing drawn where it would not be one of a kidney."""
    radius = sum(growth.lumps[0].radii) / 3
    box = canvas.grid.box(*bounds(growth.lumps, REACH * radius + _MARGIN_MM))
    if box is None:
        return 0.0
    rigid_mm = scene.distance_to_rigid(box.slices, host)
    distance = growth.distance(box, rigid_mm)
    image, labels = displace(
        canvas.image[box.slices], canvas.labels[box.slices], distance, rigid_mm, scene.spacing_mm, radius
    )
    cover = _cover(growth, box, scene.spacing_mm, rigid_mm)
    inside = cover >= 0.5
    if not _is_of_a_kidney(labels, inside, host, scene, growth.label):
        return 0.0
    tissue = growth.tissue(box, distance) + scene.noise(image.shape, rng)
    image += cover * (tissue.astype(np.float32) - image)
    labels[inside] = growth.label
    canvas.image[box.slices], canvas.labels[box.slices] = image, labels
    return volume_ml(int(np.count_nonzero(inside)), scene.spacing_mm)


def _cover(growth: _Growth, box: Box, spacing_mm: Spacing, rigid_mm: Image) -> Image:
    """Share of each voxel inside the outline: over the slice's thickness by sampling, in plane over a pixel's width."""
    soft = max(1.0, spacing_mm[1], spacing_mm[2])
    parts = max(1, round(spacing_mm[0]))
    total = np.zeros(rigid_mm.shape, np.float32)
    for part in range(parts):
        shift = ((part + 0.5) / parts - 0.5) * spacing_mm[0]
        distance = growth.distance(replace(box, z=box.z + np.float32(shift)), rigid_mm)
        total += np.clip(0.5 - distance / soft, 0, 1) / parts
    return total


def _is_of_a_kidney(labels: Labels, inside: Mask, host: Host, scene: Scene, label: int) -> bool:
    """It touches kidney, leaves the host a kidney, and as a tumor is no smaller than KiTS19's smallest."""
    voxel_ml = volume_ml(1, scene.spacing_mm)
    if np.count_nonzero(inside) * voxel_ml < (0.5 * _LEAST_ML if label == TUMOR else 0.0):
        return False
    kidney = labels == KIDNEY
    lost_ml = np.count_nonzero(kidney & inside) * voxel_ml
    if lost_ml > (1 - _KIDNEY_LEFT) * host.volume_ml:
        return False
    ring = ndimage.binary_dilation(inside, np.ones((3, 3, 3), np.bool_)) & ~inside
    return bool((kidney & ring).any()) and not bool((labels[inside] == TUMOR).any())
