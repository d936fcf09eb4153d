"""One PNG a case: axial, coronal and sagittal plane through the largest tumor, or kidney, with the masks' contours.

Prediction solid, label dashed; kidney and tumor in two colours that differ in lightness too. Planes are shown as a
radiologist sees them: the patient's right on the left of the picture, the head above; at one scale, cut to the body.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kits_submit.atomic import replacing
from kits_submit.errors import GeometryError
from kits_submit.files.volume import read_labels, read_volume
from kits_submit.labels import LabelSet
from kits_submit.report.colours import colours
from kits_submit.types import Array, Image, Labels, Mask, Shape, Spacing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Rgb = npt.NDArray[np.uint8]

WINDOW_HU = (-160.0, 280.0)  # soft tissue with contrast
_PLANES = ("axial", "coronal", "sagittal")
_LARGEST = (420, 1400)  # pixels: height of the tallest plane, width of all
_BODY_HU = -300.0
_BODY_STEP = 4  # every so many rows and columns are looked at to find the body
_AROUND_MM = 8.0
_DASH = 5  # pixels
_GAP, _CAPTION = 8, 24


@dataclass(frozen=True)
class _Plane:
    """One cut: HU and masks, rows and columns, with their pixel size in mm."""

    name: str
    index: int
    hu: Image
    predicted: Labels
    truth: Labels | None
    pixel_mm: tuple[float, float]


def draw_picture(
    path: Path,
    case: str,
    image: Path,
    prediction: Path,
    label: Path | None = None,
    *,
    labels: LabelSet,
    hu_offset: float = 0.0,
) -> None:
    """Write one case's picture; all volumes lie on one grid.

    Args:
        labels: the classes of both masks.
        hu_offset: added to each value of the image.

    Raises:
        VolumeError, LabelError: a file cannot be read.
        GeometryError: two of them differ in shape.
        OutputError: the picture cannot be written.
    """
    volume, predicted = read_volume(image, hu_offset), read_labels(prediction)
    truth = None if label is None else read_labels(label).voxels
    for other in (predicted.voxels, truth):
        if other is not None and other.shape != volume.voxels.shape:
            raise GeometryError(
                f"image {volume.voxels.shape}, mask {other.shape}", fix="draw masks of this image", path=image
            )
    spacing_mm = volume.grid.spacing_mm
    body = body_box(volume.voxels, spacing_mm)
    planes = _cut(volume.voxels, predicted.voxels, truth, place(predicted.voxels, labels), body, spacing_mm)
    picture = _compose(case, planes, labels, labelled=truth is not None)
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True)
    with replacing(path) as raw:
        raw.write(packed.getvalue())


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


def _largest_component(mask: Mask) -> Mask | None:
    import cc3d

    if not mask.any():
        return None
    components: Array = cc3d.largest_k(mask, k=1, connectivity=26)
    return np.asarray(components > 0)


def body_box(hu: Image, spacing_mm: Spacing) -> tuple[slice, slice, slice]:
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


def _cut(
    hu: Image,
    predicted: Labels,
    truth: Labels | None,
    centre: Shape,
    body: tuple[slice, slice, slice],
    spacing_mm: Spacing,
) -> tuple[_Plane, ...]:
    """Z runs to the feet, Y to the back, X to the patient's left: rows and columns need no turning."""
    planes = []
    for axis, name in enumerate(_PLANES):
        at: Any = tuple(centre[axis] if a == axis else body[a] for a in range(3))
        rows, columns = (spacing_mm[a] for a in range(3) if a != axis)
        shown = None if truth is None else truth[at]
        planes.append(_Plane(name, centre[axis], hu[at], predicted[at], shown, (rows, columns)))
    return tuple(planes)


def _compose(case: str, planes: tuple[_Plane, ...], labels: LabelSet, *, labelled: bool) -> Picture:
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    scale = _scale(planes)
    palette = colours(labels)
    drawn = [_draw(plane, scale, palette) for plane in planes]
    width = sum(one.shape[1] for one in drawn) + _GAP * (len(drawn) - 1)
    height = max(one.shape[0] for one in drawn)
    canvas = Pillow.new("RGB", (width, height + 2 * _CAPTION), (0, 0, 0))
    text, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    left = 0
    for plane, pixels in zip(planes, drawn, strict=True):
        canvas.paste(Pillow.fromarray(pixels), (left, _CAPTION))
        text.text((left + 4, 4), f"{plane.name} {plane.index}", fill=(190, 190, 190), font=font)
        left += pixels.shape[1] + _GAP
    legend = [(f"{case}  ", (230, 230, 230)), *((f"{labels.names[n]}  ", colour) for n, colour in palette.items())]
    legend.append(("prediction solid, label dashed" if labelled else "prediction", (190, 190, 190)))
    left = 4
    for words, colour in legend:
        text.text((left, height + _CAPTION + 4), words, fill=colour, font=font)
        left += round(text.textlength(words, font=font))
    return canvas


def _draw(plane: _Plane, scale: float, palette: Mapping[int, tuple[int, int, int]]) -> Rgb:
    from PIL import Image as Pillow

    low, high = WINDOW_HU
    grey = (np.clip((plane.hu - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    size = _size(plane, scale)
    shown = np.asarray(Pillow.fromarray(grey).resize(size, Pillow.Resampling.BICUBIC))
    pixels: Rgb = np.repeat(shown[:, :, None], 3, axis=2)
    for number, colour in palette.items():
        pixels[contour(plane.predicted == number, size)] = colour
        if plane.truth is not None:
            pixels[contour(plane.truth == number, size) & _dashes(size)] = tuple(c // 2 + 128 for c in colour)
    return pixels


def contour(mask: Mask, size: tuple[int, int]) -> Mask:
    """The inner edge, one pixel wide, of a mask enlarged smoothly to (columns, rows)."""
    from PIL import Image as Pillow
    from scipy import ndimage

    enlarged = Pillow.fromarray(mask.astype(np.uint8) * 255).resize(size, Pillow.Resampling.BILINEAR)
    inside = np.asarray(enlarged) >= 128
    return np.asarray(inside & ~ndimage.binary_erosion(inside, border_value=1))


def _dashes(size: tuple[int, int]) -> Mask:
    columns, rows = size
    return np.asarray((np.arange(rows)[:, None] + np.arange(columns)[None, :]) // _DASH % 2 == 0)


def _scale(planes: tuple[_Plane, ...]) -> float:
    """Pixels a mm that fit the planes side by side."""
    tall = max(plane.hu.shape[0] * plane.pixel_mm[0] for plane in planes)
    wide = sum(plane.hu.shape[1] * plane.pixel_mm[1] for plane in planes)
    return float(min(_LARGEST[0] / tall, _LARGEST[1] / wide))


def _size(plane: _Plane, scale: float) -> tuple[int, int]:
    """Columns and rows in pixels."""
    rows, columns = (max(1, round(n * mm * scale)) for n, mm in zip(plane.hu.shape, plane.pixel_mm, strict=True))
    return columns, rows
