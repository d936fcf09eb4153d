"""A series as an open image: what `kits_submit.files.nifti.Nifti` is for a file, slice by slice."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kits_submit.channels import Ahead
from kits_submit.errors import InputError
from kits_submit.files.dicom.discover import Series, series_at
from kits_submit.files.dicom.geometry import Layout
from kits_submit.files.dicom.pixels import read_hu
from kits_submit.types import Array

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_AIR_HU = -1024.0


@dataclass(frozen=True)
class SeriesHeader:
    """What a mask's writer needs of the series that it belongs to."""

    series: Series
    layout: Layout

    def get_data_dtype(self) -> np.dtype[Any]:
        """As nibabel's headers have it: slope and intercept are applied on reading."""
        return np.dtype(np.float32)

    def nifti(self) -> Nifti1Header:
        """The slices as they are (a tilt stays a shear of the sform) as a NIfTI header; it names no patient."""
        from nibabel.nifti1 import Nifti1Image

        columns, _, count = self.layout.shape
        empty = np.broadcast_to(np.uint8(0), (columns, self.layout.slices[0].shape[0], count))
        image = Nifti1Image(empty, self.layout.source_affine)
        image.header.set_xyzt_units("mm")
        header: Nifti1Header = image.header
        return header


@dataclass(frozen=True)
class Stack:
    """An open series; its `chunks` are single slices in float32 HU, axes (column, row, slice)."""

    path: Path
    header: SeriesHeader
    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    scaling: None = None
    notes: tuple[str, ...] = ()

    def chunks(self, ahead: int = 0) -> Generator[tuple[slice, Array], None, None]:
        """Each slice in the order of the stack.

        Args:
            ahead: slices that a thread of its own decodes in advance; 0: none.

        Raises:
            VolumeError: a slice that cannot be decoded; the message says which.
        """
        if not ahead:
            yield from self._slices()
            return
        reading = Ahead(self._slices(), ahead)
        try:
            yield from reading
        finally:
            reading.close()

    def _slices(self) -> Iterator[tuple[slice, Array]]:
        layout = self.header.layout
        for k, one in enumerate(layout.slices):
            values = read_hu(one, layout.slices)
            if layout.tilt_degrees:
                values = shifted(values, layout.shifts[k], layout.rows)
            yield slice(k, k + 1), values.T[:, :, None]


@contextmanager
def open_stack(path: Path) -> Iterator[Stack]:
    """Open the series of an address.

    Raises:
        KitsError: as `lay_out` found, or no such series.
    """
    series = series_at(path)
    if series.layout is None:
        trouble = series.trouble or InputError(series.left_out, fix="list the others by kits-submit series")
        raise type(trouble)(trouble.what, fix=trouble.fix, path=path)
    yield Stack(path, SeriesHeader(series, series.layout), series.layout.shape, series.layout.affine)


def shifted(plane: npt.NDArray[np.float32], shift: float, rows: int) -> npt.NDArray[np.float32]:
    """A plane moved down by `shift` rows into one of `rows` rows, linear between two, air around it.

    By 1.25 rows, row r of the result takes 0.75 of the plane's row r - 1 and 0.25 of its row r - 2.
    """
    whole, part = int(shift // 1), np.float32(shift % 1)
    out = np.full((rows, plane.shape[1]), np.float32(_AIR_HU))
    out[whole : whole + len(plane)] = plane
    if part:
        out[whole + 1 : whole + len(plane)] = plane[1:] * (1 - part) + plane[:-1] * part
    return out


def unshifted(labels: Array, shifts: Sequence[float], rows: int) -> Array:
    """Labels (column, row, slice) of the upright grid on the slices as they are: each row takes the nearest one."""
    out = np.zeros((labels.shape[0], rows, labels.shape[2]), labels.dtype, order="F")
    for k, shift in enumerate(shifts):
        start = round(shift)
        part = labels[:, start : start + rows, k]
        out[:, : part.shape[1], k] = part
    return out


def reshifted(labels: Array, shifts: Sequence[float], rows: int) -> Array:
    """The way back of `unshifted`: labels of the slices as they are on the upright grid of `rows` rows."""
    out = np.zeros((labels.shape[0], rows, labels.shape[2]), labels.dtype, order="F")
    for k, shift in enumerate(shifts):
        start = round(shift)
        part = out[:, start : start + labels.shape[1], k]
        part[:] = labels[:, : part.shape[1], k]
    return out
