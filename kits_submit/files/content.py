"""What a file is, by its content: its name decides nothing but where its mask goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kits_submit.errors import VolumeError
from kits_submit.mounts import mount_of

_HEAD_BYTES = 2048
_GZIP = b"\x1f\x8b"
_MOST_LAYERS = 2  # compressed twice, as a browser's download of a compressed file may be
_METAIMAGE = (b"ObjectType", b"NDims", b"Comment", b"ElementDataFile")
_CONVERT = "convert it to .nii.gz"
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a git-lfs pointer, not the image", "fetch the image: git lfs pull"),
    (128, b"DICM", "a DICOM file", "convert its series to one .nii.gz, as dcm2niix does"),
    (0, b"NRRD", "a NRRD file", _CONVERT),
    (0, b"PK\x03\x04", "a zip file", "unpack it"),
    (0, b"\x89HDF", "an HDF5 file", _CONVERT),
    (0, b"CDF", "a NetCDF file", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy file, which has no geometry", _CONVERT),
    (0, b"\x89PNG", "a PNG picture", "give the CT volume"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give the CT volume"),
    (0, b"BZh", "compressed by bzip2", "unpack it, or compress it by gzip"),
    (0, b"\xfd7zXZ", "compressed by xz", "unpack it, or compress it by gzip"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it, or compress it by gzip"),
    (0, b"%PDF", "a PDF document", "give the CT volume"),
)
_WEB_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")


@dataclass(frozen=True)
class Content:
    """An open file behind its compression.

    - `stream`: at the first byte. `head`: the first bytes.
    - `layers`: how many times it is compressed by gzip.
    """

    stream: IO[bytes]
    head: bytes
    layers: int

    @property
    def is_metaimage(self) -> bool:
        """Whether it begins as a MetaImage header does."""
        return self.head.lstrip().startswith(_METAIMAGE)

    def misnamed(self, path: Path) -> tuple[str, ...]:
        """A note where the name says otherwise of the compression."""
        said = int(path.name.lower().endswith(".gz"))
        if said == self.layers:
            return ()
        found = {0: "not compressed", 1: "compressed by gzip"}.get(self.layers, f"compressed {self.layers} times")
        return (f"the file is {found}, which its name does not say: read all the same",)


@contextmanager
def open_content(path: Path) -> Iterator[Content]:
    """Open a file, behind as many layers of gzip as it has.

    Raises:
        VolumeError: it is empty, or known to be no volume that is read.
        OSError, EOFError: as reading a file or a gzip stream raises them.
    """
    from isal import igzip

    mount = mount_of(path)
    with path.open("rb") if mount is None else mount.open(path) as raw:
        stream: IO[bytes] = raw
        head, layers = raw.read(_HEAD_BYTES), 0
        if not head:
            raise VolumeError("the file is empty", fix="get it again", path=path)
        while head.startswith(_GZIP) and layers < _MOST_LAYERS:
            stream.seek(0)
            stream, layers = igzip.open(stream, "rb"), layers + 1
            head = stream.read(_HEAD_BYTES)
        if not head:
            raise VolumeError("the file is empty within its compression", fix="get it again", path=path)
        _refuse_known(head, path)
        stream.seek(0)
        yield Content(stream, head, layers)


def _refuse_known(head: bytes, path: Path) -> None:
    for start, magic, what, fix in _OTHERS:
        if head[start : start + len(magic)] == magic:
            raise VolumeError(what, fix=fix, path=path)
    if head.lstrip()[:10].lower().startswith(_WEB_PAGES):
        raise VolumeError(
            "a web page, not an image",
            fix="download the file itself: what was saved is a login or an error page",
            path=path,
        )
