"""Masks on the input's exact grid; of a DICOM series as DICOM objects."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from kits_submit.files.dicom.codes import Maker
from kits_submit.files.dicom.objects import write_objects
from kits_submit.files.dicom.stack import SeriesHeader
from kits_submit.files.volume import Grid, write_labels
from kits_submit.types import Labels


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
