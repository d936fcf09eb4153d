"""Which module reads and writes an image, by its name: NIfTI, MetaImage for `.mha`, a DICOM series for `.series`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from kits_submit.errors import VolumeError
from kits_submit.files.dicom.codes import Maker
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.labels import SUFFIX as LABELS
from kits_submit.files.dicom.labels import LabelStack, open_labels
from kits_submit.files.dicom.objects import write_objects
from kits_submit.files.dicom.stack import SeriesHeader, Stack, open_stack
from kits_submit.files.metaimage import SUFFIX, MetaHeader, open_metaimage, write_metaimage
from kits_submit.files.nifti import Nifti, open_nifti, write_nifti
from kits_submit.types import Array

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

Header: TypeAlias = Union["Nifti1Header", MetaHeader, SeriesHeader]
Open: TypeAlias = Nifti | Stack | LabelStack


def open_image(path: Path) -> AbstractContextManager[Open]:
    """Open an image of any format.

    Raises:
        VolumeError: as each does, and for what is no regular file (opening a pipe would wait for ever).
    """
    if path.suffix == SERIES:
        return open_stack(path)
    if path.exists() and not path.is_file():
        raise VolumeError("not a regular file", fix="give the image itself", path=path)
    if path.suffix == LABELS:
        return open_labels(path)
    return open_metaimage(path) if path.suffix == SUFFIX else open_nifti(path)


def write_image(path: Path, stored: Array, header: Header, shape: tuple[int, ...]) -> None:
    """Write a uint8 array in stored axes in the format that `header` is of; raises OutputError as the two do."""
    if isinstance(header, MetaHeader):
        write_metaimage(path, stored, header)
    elif isinstance(header, SeriesHeader):
        write_objects(path, stored, header, Maker())
    else:
        write_nifti(path, stored, header, shape)
