"""A scene's volumes small enough to travel in a page: cut to the body, averaged, 8 bit, as NIfTI, gzip-compressed.

World coordinates of what is packed are the scene's own voxel indices times the spacing (R, A and S grow as X, Y and Z
fall), so that a place found at full resolution is the same place in a volume that was averaged.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass

import numpy as np

from kits_submit.report.pictures import view_box
from kits_submit.report.planes import Box
from kits_submit.report.scene import Scene
from kits_submit.types import Array, Image, Labels, Shape, Spacing

MOST_VOXELS = 2_500_000  # about 1.5 MB a case in a page
_LOW_HU, _STEP_HU = -250.0, 5.0  # 8 bits reach to 1025 HU: soft tissue and bone
_UINT8, _INT16 = (2, 8), (4, 16)  # NIfTI's datatype and bits a voxel
_LEVEL = 4  # of gzip


@dataclass(frozen=True)
class _Place:
    """Where packed voxels lie in their scene: the first voxel, voxels averaged into one, the scene's spacing."""

    origin: tuple[int, ...]
    step: Shape
    spacing_mm: Spacing
    compress: bool


@dataclass(frozen=True)
class Packed:
    """NIfTI files, gzip-compressed where `compressed`.

    - `hu`, `truth`: None where there is none. `step`: voxels averaged into one, along Z, Y, X.
    """

    hu: bytes | None
    predicted: bytes
    truth: bytes | None
    step: Shape
    shape: Shape
    spacing_mm: Spacing

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(len(part) for part in (self.hu, self.predicted, self.truth) if part is not None)


def pack(scene: Scene, *, full: bool = False, compress: bool = True) -> Packed:
    """The scene's volumes as files.

    Args:
        full: every voxel, HU as 16 bits, nothing cut off.
    """
    box: Box = (slice(None),) * 3 if full else view_box(scene)
    cropped = scene.predicted[box]
    step = (1, 1, 1) if full else _steps(_three(cropped.shape), scene.spacing_mm)
    origin = tuple(part.start or 0 for part in box)
    at = _Place(origin, step, scene.spacing_mm, compress)
    small = majority(cropped, step, len(scene.labels))
    hu = None if scene.hu is None else _pack_hu(scene.hu[box], at, full=full)
    truth = None
    if scene.truth is not None:
        truth = _nifti(majority(scene.truth[box], step, len(scene.labels)), _UINT8, (1.0, 0.0), at)
    spacing = tuple(mm * n for mm, n in zip(scene.spacing_mm, step, strict=True))
    return Packed(
        hu,
        _nifti(small, _UINT8, (1.0, 0.0), at),
        truth,
        step,
        _three(small.shape),
        (spacing[0], spacing[1], spacing[2]),
    )


def _pack_hu(hu: Image, at: _Place, *, full: bool) -> bytes:
    if full:
        return _nifti(np.clip(np.rint(hu), -32768, 32767).astype(np.int16), _INT16, (1.0, 0.0), at)
    small = (_mean(hu, at.step) - _LOW_HU) / _STEP_HU
    return _nifti(np.clip(np.rint(small), 0, 255).astype(np.uint8), _UINT8, (_STEP_HU, _LOW_HU), at)


def majority(labels: Labels, step: Shape, classes: int) -> Labels:
    """Each block's most frequent class; of equally frequent ones the highest number, so that the small survive.

    Blocks that the edge cuts off are left out, as in the averaged image. Worked example: a block of 1, 2, 2, 0 is 2; of
    0, 0, 1, 1 it is 1.
    """
    if step == (1, 1, 1):
        return labels
    parts = _parts(labels, step)
    best = np.zeros(parts[0].shape, np.uint8)
    most = np.zeros(parts[0].shape, np.uint16)
    for number in range(classes):
        count = np.zeros_like(most)
        for part in parts:
            count += part == number
        better = (count >= most) & (count > 0)
        best[better], most[better] = number, count[better]
    return best


def _mean(hu: Image, step: Shape) -> Array:
    parts = _parts(hu, step)
    total = np.zeros(parts[0].shape, np.float32)
    for part in parts:
        total += part
    return total / len(parts)


def _parts(volume: Array, step: Shape) -> list[Array]:
    """The first, second, ... voxel of every block, as views."""
    whole = volume[tuple(slice(n // s * s) for n, s in zip(volume.shape, step, strict=True))]
    sz, sy, sx = step
    return [whole[z::sz, y::sy, x::sx] for z in range(sz) for y in range(sy) for x in range(sx)]


def _steps(shape: Shape, spacing_mm: Spacing) -> Shape:
    """How many voxels along each axis become one: more along the axis of the smallest voxels, until they are few."""
    step = [1, 1, 1]
    while np.prod([n // s for n, s in zip(shape, step, strict=True)]) > MOST_VOXELS:
        sizes = [mm * s for mm, s in zip(spacing_mm, step, strict=True)]
        finest = min(sizes)
        for axis in range(3):
            step[axis] += sizes[axis] <= finest * 1.01
    return step[0], step[1], step[2]


def _nifti(voxels: Array, kind: tuple[int, int], scaling: tuple[float, float], place: _Place) -> bytes:
    """A NIfTI-1 file of Z, Y, X voxels: the file's first axis is X, and runs to the patient's left."""
    size = [mm * n for mm, n in zip(place.spacing_mm, place.step, strict=True)]
    along = zip(place.spacing_mm, place.origin, place.step, strict=True)
    at = [-mm * (o + (n - 1) / 2) for mm, o, n in along]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *voxels.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, *kind)
    struct.pack_into("<8f", header, 76, 1.0, *size[::-1], 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352.0, *scaling)
    struct.pack_into("<B", header, 123, 2)  # mm
    struct.pack_into("<2h", header, 252, 0, 1)  # sform: scanner
    struct.pack_into("<12f", header, 280, -size[2], 0, 0, at[2], 0, -size[1], 0, at[1], 0, 0, -size[0], at[0])
    header[344:348] = b"n+1\0"
    file = bytes(header) + np.ascontiguousarray(voxels).tobytes()
    return gzip.compress(file, _LEVEL, mtime=0) if place.compress else file


def _three(shape: tuple[int, ...]) -> Shape:
    z, y, x = shape
    return z, y, x
