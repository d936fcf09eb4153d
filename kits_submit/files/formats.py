"""Which module reads and writes an image, by its file name: NIfTI, or MetaImage for `.mha`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from kits_submit.errors import VolumeError
from kits_submit.files.metaimage import SUFFIX, MetaHeader, open_metaimage, write_metaimage
from kits_submit.files.nifti import Nifti, open_nifti, write_nifti
from kits_submit.types import Array

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

Header: TypeAlias = Union["Nifti1Header", MetaHeader]


def open_image(path: Path) -> AbstractContextManager[Nifti]:
    """Open an image of either format.

    Raises:
        VolumeError: as the two do, and for what is no regular file (opening a pipe would wait for ever).
    """
    if path.exists() and not path.is_file():
        raise VolumeError("not a regular file", fix="give the image itself", path=path)
    return open_metaimage(path) if path.suffix == SUFFIX else open_nifti(path)


def write_image(path: Path, stored: Array, header: Header, shape: tuple[int, ...]) -> None:
    """Write a uint8 array in stored axes in the format that `header` is of; raises OutputError as the two do."""
    if isinstance(header, MetaHeader):
        write_metaimage(path, stored, header)
    else:
        write_nifti(path, stored, header, shape)
