"""One cut through a scene as pixels: grey CT, masks' contours, errors, a scale bar and the patient's sides.

Planes are shown as a radiologist sees them: the patient's right on the left of the picture, the head above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kits_submit.labels import LabelSet
from kits_submit.report.colours import ERRORS, Rgb, lighter
from kits_submit.report.findings import error_kinds
from kits_submit.report.scene import Scene
from kits_submit.types import Array, Image, Labels, Mask, Shape, Spacing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Pixels = npt.NDArray[np.uint8]  # rows, columns, RGB
Box = tuple[slice, slice, slice]

WINDOW_HU = (-160.0, 280.0)  # soft tissue with contrast
MARKS = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}  # left, right, top, bottom of the picture
_BODY_HU = -300.0
_BODY_STEP = 4  # every so many rows and columns are looked at to find the body
_AROUND_MM = 8.0
_DASH = 5  # pixels
_ERROR_WEIGHT = 0.55
_BAR_MM = 50.0
_MARK = (255, 235, 150)


@dataclass(frozen=True)
class Plane:
    """One cut: HU (None without a scan) and masks, rows and columns, with their pixel size in mm."""

    name: str
    index: int
    hu: Image | None
    predicted: Labels
    truth: Labels | None
    pixel_mm: tuple[float, float]

    def size(self, scale: float) -> tuple[int, int]:
        """Columns and rows in pixels, at `scale` pixels a mm."""
        rows, columns = (
            max(1, round(n * mm * scale)) for n, mm in zip(self.predicted.shape, self.pixel_mm, strict=True)
        )
        return columns, rows


def place(labels: Labels, classes: LabelSet) -> Shape:
    """Where to cut: (z, y, x) of the largest cross-sections of the largest tumor, of the largest cyst or kidney where
    there is none, of the middle where there is neither."""
    for wanted in dict.fromkeys((*classes.tumor, *classes.mass, *classes.kidney, *classes.foreground)):
        largest = _largest_component(labels == wanted)
        if largest is not None:
            z, y, x = (int(largest.sum(axis=others).argmax()) for others in ((1, 2), (0, 2), (0, 1)))
            return z, y, x
    z, y, x = (n // 2 for n in labels.shape)
    return z, y, x


def body_box(hu: Image, spacing_mm: Spacing) -> Box:
    """The whole height, and the rows and columns of the largest thing that is not air, with a little room around it."""
    coarse = hu[:, ::_BODY_STEP, ::_BODY_STEP] > _BODY_HU
    body = _largest_component(coarse)
    if body is None:
        return slice(None), slice(None), slice(None)
    box = [slice(None)]
    for axis in (1, 2):
        found = np.flatnonzero(body.any(axis=(0, 3 - axis))) * _BODY_STEP
        around = round(_AROUND_MM / spacing_mm[axis])
        box.append(slice(max(0, int(found[0]) - around), int(found[-1]) + around + 1))
    return box[0], box[1], box[2]


def cut(scene: Scene, centre: Shape, box: Box, names: tuple[str, ...] = tuple(MARKS)) -> tuple[Plane, ...]:
    """Planes through a voxel. Z runs to the feet, Y to the back, X to the patient's left: nothing needs turning."""
    planes = []
    for axis, name in enumerate(MARKS):
        if name not in names:
            continue
        at: Any = tuple(centre[axis] if a == axis else box[a] for a in range(3))
        rows, columns = (scene.spacing_mm[a] for a in range(3) if a != axis)
        hu, truth = (None if volume is None else volume[at] for volume in (scene.hu, scene.truth))
        planes.append(Plane(name, centre[axis], hu, scene.predicted[at], truth, (rows, columns)))
    return tuple(planes)


def paint(plane: Plane, scale: float, palette: Mapping[int, Rgb]) -> Picture:
    """The plane as a picture: errors filled, the label's contours dashed, the prediction's solid, marks above all."""
    from PIL import Image as Pillow

    size = plane.size(scale)
    pixels = _grey(plane, size)
    if plane.truth is not None:
        for kind, mask in error_kinds(plane.predicted, plane.truth).items():
            filled = _enlarged(mask, size)
            over = np.array(ERRORS[kind]) * _ERROR_WEIGHT
            pixels[filled] = (pixels[filled] * (1 - _ERROR_WEIGHT) + over).astype(np.uint8)
    for number, colour in palette.items():
        pixels[contour(plane.predicted == number, size)] = colour
        if plane.truth is not None:
            pixels[contour(plane.truth == number, size) & _dashes(size)] = lighter(colour)
    picture = Pillow.fromarray(pixels)
    _mark(picture, plane, scale)
    return picture


def contour(mask: Mask, size: tuple[int, int]) -> Mask:
    """The inner edge, one pixel wide, of a mask enlarged smoothly to (columns, rows)."""
    from scipy import ndimage

    inside = _enlarged(mask, size)
    return np.asarray(inside & ~ndimage.binary_erosion(inside, border_value=1))


def _grey(plane: Plane, size: tuple[int, int]) -> Pixels:
    from PIL import Image as Pillow

    if plane.hu is None:
        return np.full((size[1], size[0], 3), 24, np.uint8)
    low, high = WINDOW_HU
    grey = (np.clip((plane.hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    shown = np.asarray(Pillow.fromarray(grey).resize(size, Pillow.Resampling.BICUBIC))
    return np.repeat(shown[:, :, None], 3, axis=2)


def _mark(picture: Picture, plane: Plane, scale: float) -> None:
    """The patient's sides at the edges, and a bar of 5 cm (shorter where the plane is small) at the lower right."""
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(picture)
    columns, rows = picture.size
    big, small = ImageFont.load_default(20), ImageFont.load_default(13)
    edge: dict[str, Any] = {"fill": _MARK, "stroke_width": 2, "stroke_fill": (0, 0, 0)}
    left, right = ((5, rows / 2), "lm"), ((columns - 5, rows / 2), "rm")
    top, bottom = ((columns / 2, 4), "mt"), ((columns / 2, rows - 6), "mb")
    for (at, anchor), letter in zip((left, right, top, bottom), MARKS[plane.name], strict=True):
        draw.text(at, letter, font=big, anchor=anchor, **edge)
    bar_mm = next((mm for mm in (_BAR_MM, 20.0, 10.0, 5.0) if mm * scale < columns / 2), 1.0)
    end, low = columns - 8, rows - 8
    start = end - round(bar_mm * scale)
    draw.line([(start, low), (end, low)], fill=(0, 0, 0), width=5)
    draw.line([(start, low), (end, low)], fill=_MARK, width=3)
    draw.text(((start + end) / 2, low - 5), f"{bar_mm / 10:g} cm", font=small, anchor="mb", **edge)


def _enlarged(mask: Mask, size: tuple[int, int]) -> Mask:
    from PIL import Image as Pillow

    if not mask.any():
        return np.zeros((size[1], size[0]), np.bool_)
    grown = Pillow.fromarray(mask.astype(np.uint8) * 255).resize(size, Pillow.Resampling.BILINEAR)
    return np.asarray(grown) >= 128


def _dashes(size: tuple[int, int]) -> Mask:
    columns, rows = size
    return np.asarray((np.arange(rows)[:, None] + np.arange(columns)[None, :]) // _DASH % 2 == 0)


def _largest_component(mask: Mask) -> Mask | None:
    import cc3d

    if not mask.any():
        return None
    components: Array = cc3d.largest_k(mask, k=1, connectivity=26)
    return np.asarray(components > 0)
