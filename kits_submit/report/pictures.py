"""A case in pictures: three planes through a place, and a strip of slices, with contours, errors and a legend.

Prediction solid, label dashed; false, missed and wrongly called voxels filled in colours of their own. At one scale,
cut to the body; the legend's letters are tall enough to be read when the picture is a thumbnail.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kits_submit.atomic import replacing
from kits_submit.report.colours import ERROR_WORDS, ERRORS, Rgb, colours
from kits_submit.report.planes import Box, body_box, cut, paint, place
from kits_submit.report.scene import Scene
from kits_submit.types import Shape

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

_LARGEST = (420, 1400)  # pixels: height of the tallest plane, width of all
_GAP, _CAPTION, LEGEND = 8, 24, 44
_TILE = 220  # pixels: a slice of a strip
_STRIP = 8  # slices
_AROUND_MM = 15.0
_WORDS: Rgb = (235, 235, 235)


def write_picture(path: Path, scene: Scene) -> None:
    """Three planes through the largest finding as a PNG.

    Raises:
        OutputError: the picture cannot be written.
    """
    packed = io.BytesIO()
    three_planes(scene, place(scene.predicted, scene.labels), view_box(scene)).save(packed, "PNG", optimize=True)
    with replacing(path) as raw:
        raw.write(packed.getvalue())


def view_box(scene: Scene) -> Box:
    """What is shown of a scene: the body, or everything where there is no scan."""
    return (slice(None),) * 3 if scene.hu is None else body_box(scene.hu, scene.spacing_mm)


def three_planes(scene: Scene, centre: Shape, box: Box) -> Picture:
    """Axial, coronal and sagittal plane through `centre`, side by side, a legend below."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    planes = cut(scene, centre, box)
    tall = max(plane.predicted.shape[0] * plane.pixel_mm[0] for plane in planes)
    wide = sum(plane.predicted.shape[1] * plane.pixel_mm[1] for plane in planes)
    scale = min(_LARGEST[0] / tall, _LARGEST[1] / wide)  # pixels a mm that fit the planes side by side
    drawn = [paint(plane, scale, colours(scene.labels)) for plane in planes]
    width = sum(one.width for one in drawn) + _GAP * (len(drawn) - 1)
    height = max(one.height for one in drawn)
    canvas = Pillow.new("RGB", (width, height + _CAPTION + LEGEND), (0, 0, 0))
    text, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    left = 0
    for plane, picture in zip(planes, drawn, strict=True):
        canvas.paste(picture, (left, _CAPTION))
        text.text((left + 4, 4), f"{plane.name} {plane.index}", fill=(200, 200, 200), font=font)
        left += picture.width + _GAP
    _legend(text, scene, width, height + _CAPTION)
    return canvas


def strip(scene: Scene) -> Picture | None:
    """Axial slices at equal distances through everything predicted or labelled; None where there is nothing."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    box = _organs(scene)
    if box is None:
        return None
    count = min(_STRIP, box[0].stop - box[0].start)
    slices = np.linspace(box[0].start, box[0].stop - 1, count + 2)[1:-1].round().astype(int)
    planes = [cut(scene, (int(z), 0, 0), box, ("axial",))[0] for z in slices]
    rows, columns = planes[0].predicted.shape
    scale = min(_TILE / (rows * planes[0].pixel_mm[0]), 1.6 * _TILE / (columns * planes[0].pixel_mm[1]))
    tiles = [paint(plane, scale, colours(scene.labels)) for plane in planes]
    width, height = tiles[0].width + _GAP // 2, tiles[0].height + _GAP // 2
    across = -(-count // 2)
    canvas = Pillow.new("RGB", (across * width, -(-count // across) * height), (0, 0, 0))
    text, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for number, (plane, tile) in enumerate(zip(planes, tiles, strict=True)):
        at = number % across * width, number // across * height
        canvas.paste(tile, at)
        text.text((at[0] + 4, at[1] + 3), f"{plane.index}", fill=_WORDS, font=font)
    return canvas


def _legend(text: ImageDraw, scene: Scene, width: int, top: int) -> None:
    """Swatches with words, as large as the width allows."""
    from PIL import ImageFont

    palette = colours(scene.labels)
    entries: list[tuple[str, Rgb | None]] = [(scene.labels.names[n], colour) for n, colour in palette.items()]
    if scene.truth is None:
        entries.append(("solid: prediction", None))
    else:
        entries += [(ERROR_WORDS[kind], colour) for kind, colour in ERRORS.items()]
        entries.append(("solid: prediction, dashed: label", None))
    entries.insert(0, (_printable(scene.case), None))
    for size in (26, 22, 18, 14, 11):
        font = ImageFont.load_default(size)
        widths = [round(text.textlength(words, font=font)) + (size + 6) * (c is not None) for words, c in entries]
        if sum(widths) + size * len(entries) <= width:
            break
    left, middle = 6, top + LEGEND // 2
    for (words, colour), wide in zip(entries, widths, strict=True):
        at = left
        if colour is not None:
            text.rectangle([left, middle - size // 2, left + size, middle + size // 2], fill=colour)
            at += size + 6
        text.text((at, middle), words, fill=_WORDS, font=font, anchor="lm")
        left += wide + size


def _printable(case: str) -> str:
    """A case's name as a legend has it: one line, forty characters at most."""
    return "".join(letter if letter.isprintable() else " " for letter in case)[:40]


def _organs(scene: Scene) -> Box | None:
    """The box of both masks, with a little room around it within each slice."""
    shown = scene.predicted > 0
    if scene.truth is not None:
        shown = shown | (scene.truth > 0)
    if not shown.any():
        return None
    box = []
    for axis in range(3):
        hit = np.flatnonzero(shown.any(axis=tuple(a for a in range(3) if a != axis)))
        around = round(_AROUND_MM / scene.spacing_mm[axis]) if axis else 0
        box.append(slice(max(0, int(hit[0]) - around), min(shown.shape[axis], int(hit[-1]) + around + 1)))
    return box[0], box[1], box[2]
