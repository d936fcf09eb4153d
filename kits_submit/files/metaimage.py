"""MetaImage (`.mha`, Grand Challenge's format): a text header, then voxels, raw or zlib-compressed, in one file.

Read and written here rather than by SimpleITK, whose library is larger than everything else in the CPU image together
(264 MB) and holds a whole decompressed volume; the tests compare with it. ITK's coordinates are LPS, NIfTI's RAS: the
first two rows of the affine change sign. Geometry is written with the digits that it was read with, so it is exact.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from kits_submit.atomic import replacing
from kits_submit.errors import VolumeError
from kits_submit.files.content import Content
from kits_submit.files.nifti import CHUNK_BYTES, DAMAGED, DEFLATE_MAX_RATIO, Nifti, has_volume
from kits_submit.types import Affine, Array

SUFFIX = ".mha"
_MOST_HEADER_BYTES = 1 << 24  # a sequence has some lines a frame
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_ALIASES = {
    "Origin": "Offset", "Position": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip
_GEOMETRY = {"TransformMatrix": 9, "Offset": 3, "CenterOfRotation": 3, "ElementSpacing": 3}


@dataclass(frozen=True)
class MetaHeader:
    """- `geometry`: the header's lines on geometry, numbers alone, as they stand in the file.
    - `dtype`: of a stored voxel.
    """

    geometry: Mapping[str, str]
    dtype: np.dtype[Any]

    def get_data_dtype(self) -> np.dtype[Any]:
        """As nibabel's headers have it."""
        return self.dtype

    @property
    def affine(self) -> Affine:
        """4x4, stored voxel indices to mm in RAS+; ITK's direction cosines are its columns, one a stored axis."""
        numbers = {key: np.array(text.split(), np.float64) for key, text in self.geometry.items()}
        affine = np.eye(4)
        affine[:3, :3] = numbers.get("TransformMatrix", np.eye(3)).reshape(3, 3).T * numbers["ElementSpacing"]
        affine[:3, 3] = numbers.get("Offset", np.zeros(3))
        return _LPS_TO_RAS @ affine


@contextmanager
def open_metaimage(path: Path, content: Content) -> Iterator[Nifti]:
    """Open an `.mha` volume and validate its header; what is given streams its voxels as a NIfTI file does.

    Raises:
        VolumeError: unreadable, not MetaImage, not three-dimensional, of no numeric type, or without usable geometry.
    """
    stream = content.stream
    fields = _fields(stream, path)
    held = path.stat().st_size * DEFLATE_MAX_RATIO**content.layers - stream.tell()
    shape, header = _shape(fields, path), _header(fields, path)
    compressed = fields.get("CompressedData", "False").lower() == "true"
    wanted = int(np.prod([float(n) for n in shape])) * header.dtype.itemsize
    if wanted > held * (DEFLATE_MAX_RATIO if compressed else 1):
        raise VolumeError(f"the header says {shape}, more than the file can hold", fix=DAMAGED, path=path)
    voxels: Any = _Inflated(stream, path) if compressed else stream
    yield Nifti(path, header, shape, header.affine, None, voxels, content.misnamed(path))


def write_metaimage(path: Path, stored: Array, header: MetaHeader) -> None:
    """Write a uint8 array in stored axes under the geometry of `header`, zlib-compressed.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    from isal import isal_zlib

    deflate = isal_zlib.compressobj(level=1)
    step = max(1, CHUNK_BYTES // max(1, stored.shape[0] * stored.shape[1]))
    parts = [
        deflate.compress(stored[:, :, start : start + step].tobytes(order="F"))
        for start in range(0, stored.shape[2], step)
    ]
    parts.append(deflate.flush())
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(sum(len(part) for part in parts)),
        **header.geometry,
        "DimSize": " ".join(str(n) for n in stored.shape),
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    with replacing(path) as raw:
        raw.write("".join(f"{key} = {value}\n" for key, value in lines.items()).encode("latin-1"))
        for part in parts:
            raw.write(part)


class _Inflated(io.RawIOBase):
    """A zlib stream, decompressed as it is read; at its end its checksum has been checked."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        from isal import isal_zlib

        self._stream = stream
        self._path = path
        self._inflate = isal_zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Some of what follows; 0 at the end.

        Raises:
            VolumeError: the stream ends early.
        """
        while not self._inflate.eof:
            waiting = self._inflate.unconsumed_tail or self._stream.read(1 << 20)
            part = self._inflate.decompress(waiting, len(buffer))
            if part:
                buffer[: len(part)] = part
                return len(part)
            if not waiting:
                raise VolumeError("the voxels end early", fix=DAMAGED, path=self._path)
        return 0


def _fields(stream: IO[bytes], path: Path) -> dict[str, str]:
    """The header's lines, the stream left at the first voxel."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = stream.readline(_MOST_HEADER_BYTES)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals or stream.tell() > _MOST_HEADER_BYTES:
            raise VolumeError("not a MetaImage file", fix="check the file, or get it again", path=path)
        fields[_ALIASES.get(key.strip(), key.strip())] = value.strip()
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise VolumeError("its voxels are in another file", fix="convert it to one .mha file", path=path)
    return fields


def _shape(fields: Mapping[str, str], path: Path) -> tuple[int, ...]:
    shape = tuple(int(n) for n in fields.get("DimSize", "").split() if n.isdecimal() and len(n) < 10)
    if fields.get("NDims") != "3" or len(shape) != 3 or min(shape) < 1:
        raise VolumeError(
            f"it has NDims {fields.get('NDims', 'not given')!r}, DimSize {fields.get('DimSize', 'not given')!r}",
            fix="give one 3-D volume a file",
            path=path,
        )
    return shape


def _header(fields: Mapping[str, str], path: Path) -> MetaHeader:
    kind = _TYPES.get(fields.get("ElementType", ""))
    one_channel = fields.get("ElementNumberOfChannels", "1") == "1"
    if kind is None or not one_channel or fields.get("HeaderSize", "0") != "0" or fields.get("BinaryData") == "False":
        raise VolumeError(
            f"voxels of type {fields.get('ElementType')!r} in this layout are not read",
            fix="convert it to a one-channel binary .mha of int16",
            path=path,
        )
    big = fields.get("BinaryDataByteOrderMSB", "False").lower() == "true"
    if "ElementSpacing" not in fields and "ElementSize" in fields:
        fields = {**fields, "ElementSpacing": fields["ElementSize"]}
    geometry = {key: fields[key] for key in _GEOMETRY if key in fields}
    header = MetaHeader(geometry, np.dtype(f"{'>' if big else '<'}{kind}"))
    if not _usable(header):
        raise VolumeError(
            "its TransformMatrix, Offset or ElementSpacing is missing, not finite or has no volume",
            fix="correct the header",
            path=path,
        )
    return header


def _usable(header: MetaHeader) -> bool:
    try:
        numbers = {key: [float(number) for number in text.split()] for key, text in header.geometry.items()}
    except ValueError:
        return False
    if "ElementSpacing" not in numbers or any(len(numbers[key]) != _GEOMETRY[key] for key in numbers):
        return False
    with np.errstate(all="ignore"):
        affine = header.affine
    return min(numbers["ElementSpacing"]) > 0 and has_volume(affine)
