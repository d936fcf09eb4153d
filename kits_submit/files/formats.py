"""Which module reads and writes an image: NIfTI, MetaImage for `.mha`, a DICOM series for `.series`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from kits_submit.errors import VolumeError
from kits_submit.files.content import Content, open_content
from kits_submit.files.dicom.codes import Maker
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.labels import SUFFIX as LABELS
from kits_submit.files.dicom.labels import LabelStack, open_labels
from kits_submit.files.dicom.objects import write_objects
from kits_submit.files.dicom.stack import SeriesHeader, Stack, open_stack
from kits_submit.files.metaimage import SUFFIX, MetaHeader, open_metaimage, write_metaimage
from kits_submit.files.nifti import Nifti, is_nifti, open_nifti, told_as_volume_error, write_nifti
from kits_submit.types import Array

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

Header: TypeAlias = Union["Nifti1Header", MetaHeader, SeriesHeader]
Open: TypeAlias = Nifti | Stack | LabelStack


@contextmanager
def open_image(path: Path) -> Iterator[Open]:
    """Open an image of any format; a file's content says which it is.

    Raises:
        VolumeError: as each does, for another format than its name's, and for what is no regular file (opening a pipe
            would wait for ever).
    """
    if path.suffix in (SERIES, LABELS):
        with (open_stack if path.suffix == SERIES else open_labels)(path) as opened:
            yield opened
        return
    if path.exists() and not path.is_file():
        raise VolumeError("not a regular file", fix="give the image itself", path=path)
    called_metaimage = path.suffix.lower() == SUFFIX
    with ExitStack() as stack:
        with told_as_volume_error(path):
            content = stack.enter_context(open_content(path))
        _refuse_other_name(content, path, called_metaimage=called_metaimage)
        yield stack.enter_context((open_metaimage if called_metaimage else open_nifti)(path, content))


def _refuse_other_name(content: Content, path: Path, *, called_metaimage: bool) -> None:
    if content.is_metaimage != called_metaimage and (content.is_metaimage or is_nifti(content.head)):
        raise VolumeError(
            f"a {'MetaImage' if content.is_metaimage else 'NIfTI'} file by another name",
            fix=f"rename it to {'.mha' if content.is_metaimage else '.nii.gz'}",
            path=path,
        )


def write_image(path: Path, stored: Array, header: Header, shape: tuple[int, ...]) -> None:
    """Write a uint8 array in stored axes in the format that `header` is of; raises OutputError as the two do."""
    if isinstance(header, MetaHeader):
        write_metaimage(path, stored, header)
    elif isinstance(header, SeriesHeader):
        write_objects(path, stored, header, Maker())
    else:
        write_nifti(path, stored, header, shape)
