"""Masks on the input's exact grid; of a DICOM series as DICOM objects."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from kits_submit.files.dicom.codes import Maker
from kits_submit.files.dicom.objects import write_objects
from kits_submit.files.dicom.stack import SeriesHeader, reshifted
from kits_submit.files.volume import Grid, read_labels, write_labels
from kits_submit.types import Labels


def drawn_on(grid: Grid) -> Grid:
    """Where label maps of an image lie: on its grid, or on its slices as they are where a gantry's tilt was undone."""
    if not isinstance(grid.header, SeriesHeader) or not grid.header.layout.tilt_degrees:
        return grid
    layout = grid.header.layout
    shape = (layout.shape[0], layout.slices[0].shape[0], layout.shape[2])
    return replace(grid, stored_shape=shape, affine=layout.source_affine)


def read_labels_of(path: Path, grid: Grid) -> Labels:
    """A label map that lies where `drawn_on` says, as ZYX on the image's grid.

    Raises:
        VolumeError, GeometryError, LabelError: as `kits_submit.files.volume.read_labels`.
    """
    labels = read_labels(path)
    if drawn_on(grid) is grid or not isinstance(grid.header, SeriesHeader):
        return labels.voxels
    layout = grid.header.layout
    return grid.canonical_view(reshifted(labels.grid.stored_view(labels.voxels), layout.shifts, layout.rows))


def write_mask(path: Path, labels: Labels, grid: Grid, maker: Maker | None = None, also: Collection[str] = ()) -> None:
    """Write ZYX labels on the source grid.

    Args:
        maker: what made them, which a DICOM object tells.
        also: of a DICOM series, what to write beside its Segmentation: names of `kits_submit.files.dicom.objects.ALSO`.

    Raises:
        OutputError: the folder cannot be written.
    """
    if isinstance(grid.header, SeriesHeader):
        write_objects(path, grid.stored_view(labels), grid.header, maker or Maker(), also)
    else:
        write_labels(path, labels, grid)
