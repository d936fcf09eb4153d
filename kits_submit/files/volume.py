"""`Volume` and `LabelVolume`: voxels turned to Z, Y, X in KiTS's own orientation, with the grid to turn them back.

A file in any orientation is turned on reading and turned back on writing, by permuting and flipping axes alone; the
voxels written sit on the input's exact grid: its shape, sform, qform, pixdim and units. Text fields of a header
(description, intent, extensions) are never copied, for they may name a patient.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kits_submit.errors import GeometryError, LabelError, VolumeError
from kits_submit.files.formats import Header, Open, open_image, write_image
from kits_submit.files.oddities import SHEARED, cosines, geometry_notes
from kits_submit.recipe import ORIENTATION
from kits_submit.types import Affine, Array, Image, Labels, Shape, Spacing

_CHUNKS_AHEAD = 2


@dataclass(frozen=True)
class Grid:
    """Where a file's voxels lie.

    - `path`: the file that it was read from.
    - `stored_shape`: the file's own axes, in its own order, trailing axes of length one included.
    - `affine`: 4x4, stored voxel indices to mm in RAS+.
    - `notes`: what is odd about the file and its geometry, a line each.
    """

    path: Path
    stored_shape: tuple[int, ...]
    affine: Affine
    header: Header
    notes: tuple[str, ...] = ()

    @cached_property
    def _to_canonical(self) -> npt.NDArray[np.float64]:
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        transform: npt.NDArray[np.float64] = ornt_transform(io_orientation(self.affine), axcodes2ornt(ORIENTATION))
        return transform

    @cached_property
    def canonical_affine(self) -> Affine:
        """4x4, Z, Y, X voxel indices to mm in RAS+."""
        from nibabel.orientations import inv_ornt_aff

        affine: Affine = self.affine @ inv_ornt_aff(self._to_canonical, self.stored_shape[:3])
        return affine

    @cached_property
    def shape(self) -> Shape:
        """Voxels along Z, Y, X."""
        z, y, x = self.canonical_view(np.broadcast_to(np.uint8(0), self.stored_shape)).shape
        return z, y, x

    @cached_property
    def spacing_mm(self) -> Spacing:
        """Voxel size along Z, Y, X: the lengths of the affine's columns."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        canonical = dict(zip(self._to_canonical[:, 0].astype(int), lengths, strict=True))
        return float(canonical[0]), float(canonical[1]), float(canonical[2])

    @cached_property
    def box_mm(self) -> Spacing:
        """Edges of the right-angled box of a voxel's volume, |det(affine)|, along Z, Y, X.

        `spacing_mm` but where the axes are sheared (gantry tilt): there the one that leans (Z, of two) is as long as
        the planes across it are apart.
        """
        angles = cosines(self.affine)
        if max(angles.values()) <= SHEARED:
            return self.spacing_mm
        leaning = min(int(self._to_canonical[axis, 0]) for axis in max(angles, key=lambda pair: angles[pair]))
        volume = abs(float(np.linalg.det(self.affine[:3, :3])))
        z, y, x = (
            mm * volume / math.prod(self.spacing_mm) if axis == leaning else mm
            for axis, mm in enumerate(self.spacing_mm)
        )
        return z, y, x

    @cached_property
    def orientation(self) -> str:
        """The stored axes' directions, `IPL` for a KiTS file."""
        from nibabel.orientations import aff2axcodes

        return "".join(str(code) for code in aff2axcodes(self.affine))

    def canonical_view(self, stored: Array) -> Array:
        """A view of a stored array as Z, Y, X."""
        from nibabel.orientations import apply_orientation

        view: Array = apply_orientation(stored.reshape(self.stored_shape[:3]), self._to_canonical)
        return view

    @cached_property
    def stored_axes(self) -> tuple[tuple[int, bool], ...]:
        """Of each stored axis, fastest first: which of Z, Y, X it is (0, 1, 2), and whether it runs against that."""
        return tuple((int(axis), bool(direction < 0)) for axis, direction in self._to_canonical)

    @cached_property
    def slowest(self) -> tuple[int, bool]:
        """The axis (0, 1, 2 for Z, Y, X) that the file stores slowest, and whether it runs downwards along it."""
        return self.stored_axes[2]

    def canonical_plane(self, stored: Array) -> Array:
        """A view of a plane across the slowest axis, stored as (first, second axis), as its two axes of Z, Y, X."""
        (first, flip_first), (second, flip_second), _ = self._to_canonical.astype(int)
        plane = stored[::flip_first, ::flip_second]
        return plane if first < second else plane.T

    def stored_view(self, canonical: Array) -> Array:
        """A view of a Z, Y, X array in the file's own axes (trailing axes of length one left off)."""
        axes = self._to_canonical[:, 0].astype(int)
        flips = self._to_canonical[:, 1]
        view = canonical.transpose(axes)
        return view[tuple(slice(None, None, int(flip)) for flip in flips)]


@dataclass(frozen=True)
class Volume:
    """`voxels`: float32 HU, Z, Y, X."""

    voxels: Image
    grid: Grid


@dataclass(frozen=True)
class Planes:
    """A volume that arrives plane by plane, as its file stores it.

    - `axis`: 0, 1 or 2: the planes lie across Z, Y or X; `descending`: the order of their indices.
    - `stream`: (index, float32 HU of the two other axes in their order), each index once.
    """

    grid: Grid
    axis: int
    descending: bool
    stream: Iterator[tuple[int, npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class LabelVolume:
    """`voxels`: uint8 class numbers, Z, Y, X, in the file's memory order (turning them costs more than the gunzip)."""

    voxels: Labels
    grid: Grid


def read_grid(path: Path) -> Grid:
    """The grid alone, from the header.

    Raises:
        VolumeError: not a NIfTI or MetaImage volume, or no usable geometry.
    """
    with open_image(path) as nifti:
        return _grid(path, nifti)


def read_volume(path: Path, hu_offset: float = 0.0) -> Volume:
    """Read an image as float32 HU (slope and intercept applied); the stored dtype is never held whole.

    Raises:
        VolumeError: truncated, damaged, not 3-D, NaN or infinite voxels, no usable geometry.
    """
    with open_image(path) as nifti:
        grid = _grid(path, nifti)
        voxels = np.empty(grid.shape, np.float32)
        stored = grid.stored_view(voxels)
        bad = 0
        for part, chunk in nifti.chunks():
            values = _as_hu(chunk, _offset(nifti.scaling, hu_offset))
            bad += _not_finite(values)
            stored[:, :, part] = values
    if bad:
        raise VolumeError(f"{bad} voxels are NaN or infinite", fix=_REPLACE, path=path)
    return Volume(voxels, grid)


@contextmanager
def open_planes(path: Path, hu_offset: float = 0.0) -> Iterator[Planes]:
    """Open an image to read it plane by plane: no more of it is held than one chunk of the file.

    Args:
        hu_offset: added to each value, for an image that is not stored in HU.

    Raises:
        VolumeError: as `read_volume`; what the header does not tell is told when the stream comes to it.
    """
    with open_image(path) as nifti:
        grid = _grid(path, nifti)
        axis, descending = grid.slowest
        with closing(_planes(nifti, grid, _offset(nifti.scaling, hu_offset))) as stream:
            yield Planes(grid, axis, descending, stream)


def _planes(
    nifti: Open, grid: Grid, scaling: tuple[float, float] | None
) -> Generator[tuple[int, npt.NDArray[np.float32]], None, None]:
    last, (_, descending) = grid.stored_shape[2] - 1, grid.slowest
    with closing(nifti.chunks(_CHUNKS_AHEAD)) as chunks:
        for part, chunk in chunks:
            values = _as_hu(chunk, scaling)
            bad = _not_finite(values)
            if bad:
                for _ in chunks:  # a damaged file is told as one: its end checks it
                    pass
                raise VolumeError(f"{bad} or more voxels are NaN or infinite", fix=_REPLACE, path=grid.path)
            for k in range(part.start, part.stop):
                yield last - k if descending else k, grid.canonical_plane(values[:, :, k - part.start])


def read_labels(path: Path) -> LabelVolume:
    """Read a label map as uint8.

    Raises:
        VolumeError: truncated, damaged, not 3-D, no usable geometry.
        LabelError: a voxel that is not a whole number of 0 to 255.
    """
    with open_image(path) as nifti:
        grid = _grid(path, nifti)
        stored = np.empty(grid.stored_shape[:3], np.uint8, order="F")
        for part, chunk in nifti.chunks():
            stored[:, :, part] = _as_labels(chunk, nifti.scaling, path)
    return LabelVolume(grid.canonical_view(stored), grid)


def write_labels(path: Path, labels: Labels, grid: Grid) -> None:
    """Write Z, Y, X labels as uint8 on `grid`: beside first, then renamed, so that no half file is ever visible.

    Raises:
        GeometryError: `labels` has another shape than `grid`.
        OutputError: the file cannot be written.
    """
    if labels.shape != grid.shape:
        raise GeometryError(
            f"labels of shape {labels.shape} for a grid of {grid.shape} (Z, Y, X)", fix="this is a bug", path=path
        )
    write_image(path, grid.stored_view(labels.astype(np.uint8, copy=False)), grid.header, grid.stored_shape)


_REPLACE = "replace them, by -1024 outside the scan"


def _offset(scaling: tuple[float, float] | None, hu_offset: float) -> tuple[float, float] | None:
    if not hu_offset:
        return scaling
    slope, intercept = scaling or (1.0, 0.0)
    return slope, intercept + hu_offset


def _as_hu(chunk: Array, scaling: tuple[float, float] | None) -> npt.NDArray[np.float32]:
    """A new array: the chunk's own is used again."""
    with np.errstate(over="ignore", invalid="ignore"):  # what leaves float32 is counted as infinite
        values = chunk.astype(np.float32)
        if scaling is not None:
            values *= np.float32(scaling[0])
            values += np.float32(scaling[1])
    return values


def _not_finite(values: npt.NDArray[np.float32]) -> int:
    """How many are NaN or infinite; a sum of squares finds at once, and fast, that none is."""
    flat = values.ravel(order="K")
    with np.errstate(all="ignore"):
        squares = float(np.dot(flat, flat))
    if math.isfinite(squares):
        return 0
    return values.size - int(np.count_nonzero(np.isfinite(values)))


def _grid(path: Path, nifti: Open) -> Grid:
    notes = (*nifti.notes, *geometry_notes(nifti.affine, nifti.header))
    return Grid(path, nifti.shape, nifti.affine, nifti.header, notes)


def _as_labels(chunk: Array, scaling: tuple[float, float] | None, path: Path) -> npt.NDArray[Any]:
    if chunk.dtype == np.uint8 and scaling is None:
        return chunk
    values = chunk if scaling is None else chunk * scaling[0] + scaling[1]
    with np.errstate(invalid="ignore"):
        labels = values.astype(np.uint8)
    wrong = values != labels
    if wrong.any():
        raise LabelError(
            f"{int(wrong.sum())} or more voxels are no label (first: {values[wrong][0]})",
            fix="label maps hold whole numbers from 0 to 255",
            path=path,
        )
    return labels
