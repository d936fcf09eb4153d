"""Stream NIfTI files: header first, then voxels in chunks, through a fast gzip; write beside, then rename.

nibabel knows the header and the affine. The voxels are streamed here because nibabel holds a whole stored array (2.2 GB
for KiTS19's largest case, stored as float64) and reads through Python's slower gzip.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from kits_submit.atomic import replacing
from kits_submit.channels import Ahead
from kits_submit.errors import VolumeError
from kits_submit.files.content import Content
from kits_submit.types import Affine, Array

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

CHUNK_BYTES = 4 << 20  # stays in a processor's cache: 32 MB take 1.6 times as long to unzip
GZIP_LEVEL = 1
DEFLATE_MAX_RATIO = 1032  # one deflate block cannot expand further (RFC 1951: 258 bytes from 2 bits)
_HEADER_BYTES = 540  # NIfTI-2's; NIfTI-1's 348 is its beginning
_MOST_OFFSET = 1 << 30
DAMAGED = "it is damaged or was not downloaded whole: get it again"


@dataclass
class Nifti:
    """An open file, NIfTI or another whose `header` gives its voxels' type by `get_data_dtype`.

    - `shape`: as stored, three axes or more, those after the third of length one.
    - `scaling`: (slope, intercept), None where the stored values are the values.
    - `notes`: what is odd about the file.
    """

    path: Path
    header: Nifti1Header
    shape: tuple[int, ...]
    affine: Affine
    scaling: tuple[float, float] | None
    stream: IO[bytes]
    notes: tuple[str, ...] = ()

    def chunks(self, ahead: int = 0) -> Generator[tuple[slice, Array], None, None]:
        """Parts of the slowest stored axis with their voxels, as stored (first axis fastest, as NIfTI has it).

        A part's buffer is used again: it holds until the next part is taken.

        Args:
            ahead: parts that a thread of its own unzips in advance; 0: none, each is unzipped when it is taken.

        Raises:
            VolumeError: the data ends early or is damaged.
        """
        if not ahead:
            yield from self._parts(buffers=1)
            return
        reading = Ahead(self._parts(buffers=ahead + 2), ahead)  # one that is filled, one that is looked at
        try:
            yield from reading
        finally:
            reading.close()

    def _parts(self, buffers: int) -> Iterator[tuple[slice, Array]]:
        i, j, k = self.shape[:3]
        dtype = self.header.get_data_dtype()
        plane = i * j * dtype.itemsize
        step = min(k, max(1, CHUNK_BYTES // plane))
        room = itertools.cycle([np.empty(step * plane, np.uint8) for _ in range(buffers)])
        for start in range(0, k, step):
            count = min(step, k - start)
            held = next(room)[: count * plane]
            self._fill(held.data)
            yield slice(start, start + count), held.view(dtype).reshape((i, j, count), order="F")
        with told_as_volume_error(self.path):
            self.stream.read(1)  # reaching the end is what makes gzip check its CRC

    def _fill(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            with told_as_volume_error(self.path):
                got = self.stream.readinto(buffer[filled:])  # type: ignore[attr-defined]  # every binary file has it
            if not got:
                raise VolumeError("the voxels end early", fix=DAMAGED, path=self.path)
            filled += got


@contextmanager
def open_nifti(path: Path, content: Content) -> Iterator[Nifti]:
    """Open a NIfTI volume, compressed or not, and validate its header.

    Raises:
        VolumeError: unreadable, not NIfTI, not three-dimensional, of no numeric type, or without usable geometry.
    """
    stream = content.stream
    header = _parse(content.head[:_HEADER_BYTES], path)
    shape = _shape(header, path)
    _refuse_impossible_size(path, shape, header, content.layers)
    with told_as_volume_error(path):
        stream.seek(_offset(header, path))
    yield Nifti(
        path, header, shape, _affine(header, path), _scaling(header, path), stream, content.misnamed(path)
    )  # fmt: skip


def write_nifti(path: Path, stored: Array, header: Nifti1Header, shape: tuple[int, ...]) -> None:
    """Write a uint8 array in stored axes under the geometry of `header`; gzip without name or time, so byte-stable.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    from isal import igzip

    clean = _geometry_only(header, shape)
    with (
        replacing(path) as raw,
        igzip.IGzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0) as out,
    ):
        out.write(clean.binaryblock + b"\0\0\0\0")
        step = max(1, CHUNK_BYTES // max(1, stored.shape[0] * stored.shape[1]))
        for start in range(0, stored.shape[2], step):
            out.write(stored[:, :, start : start + step].tobytes(order="F"))


@contextmanager
def told_as_volume_error(path: Path) -> Iterator[None]:
    """What reading a file or a gzip stream raises, as `VolumeError`."""
    from isal.igzip_lib import IsalError

    try:
        yield
    except EOFError:
        raise VolumeError("the gzip stream ends early", fix=DAMAGED, path=path) from None
    except (gzip.BadGzipFile, IsalError) as error:  # type: ignore[misc]  # isal's stub makes the class an instance
        raise VolumeError(f"not a whole gzip file ({error})", fix=DAMAGED, path=path) from None
    except OSError as error:
        raise VolumeError(f"cannot be read ({error.strerror or error})", fix="check the file", path=path) from None


def is_nifti(head: bytes) -> bool:
    """Whether a file begins as a NIfTI header does."""
    return bool({int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")} & {348, 540})


def _parse(block: bytes, path: Path) -> Nifti1Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    kind = Nifti1Header if 348 in sizes else Nifti2Header if 540 in sizes else None
    length = {Nifti1Header: 348, Nifti2Header: 540}.get(kind, 0)
    if kind is None or len(block) < length:
        raise VolumeError("not a NIfTI file", fix="KiTS images are .nii.gz (NIfTI-1): check the file", path=path)
    try:
        header: Nifti1Header = kind(block[:length], check=False)
    except (WrapStructError, HeaderDataError, ValueError) as error:
        raise VolumeError(f"the NIfTI header is damaged ({error})", fix=DAMAGED, path=path) from None
    if header["magic"].item()[:3] not in (b"n+1", b"n+2"):
        raise VolumeError(
            "the header of a .hdr and .img pair, not a single-file NIfTI",
            fix="convert the two to one .nii.gz file",
            path=path,
        )
    return header


def _shape(header: Nifti1Header, path: Path) -> tuple[int, ...]:
    axes = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : axes + 1]) if 1 <= axes <= 7 else ()
    if len(shape) < 3 or any(n < 1 for n in shape) or any(n != 1 for n in shape[3:]):
        raise VolumeError(f"the volume has shape {shape}", fix="give one 3-D volume a file", path=path)
    return shape


def _offset(header: Nifti1Header, path: Path) -> int:
    """Where the voxels begin; 0 is read as the least, as nibabel does."""
    offset, least = float(header["vox_offset"]), int(type(header).single_vox_offset)
    if not (offset == 0 or least <= offset <= _MOST_OFFSET):
        raise VolumeError(f"vox_offset is {offset}, allowed: {least} to {_MOST_OFFSET}", fix=DAMAGED, path=path)
    return max(int(offset), least)


def _refuse_impossible_size(path: Path, shape: tuple[int, ...], header: Nifti1Header, layers: int) -> None:
    try:
        dtype = header.get_data_dtype()
    except Exception:  # nibabel raises its own kinds for unknown type codes
        raise VolumeError(
            f"unknown data type {int(header['datatype'])}", fix="convert it to int16", path=path
        ) from None
    if dtype.kind not in "iuf":
        told = "colours (RGB)" if dtype.kind == "V" and dtype.itemsize else str(dtype) if dtype.itemsize else "no type"
        raise VolumeError(f"voxels of type {told}, not numbers", fix="convert it to int16", path=path)
    wanted = dtype.itemsize
    for n in shape:
        wanted *= n
    held = path.stat().st_size * DEFLATE_MAX_RATIO**layers
    if wanted > held:
        raise VolumeError(f"the header says {shape}, more than the file can hold", fix=DAMAGED, path=path)


def _affine(header: Nifti1Header, path: Path) -> Affine:
    from nibabel.spatialimages import HeaderDataError

    fix = "set the sform or the qform"
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise VolumeError("the header has no orientation (sform = qform = 0)", fix=fix, path=path)
    try:
        with np.errstate(all="ignore"):
            affine: Affine = np.asarray(header.get_best_affine(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise VolumeError(f"the header's orientation is invalid ({error})", fix=fix, path=path) from None
    if not has_volume(affine):
        raise VolumeError("the header's orientation is not finite or has no volume", fix=fix, path=path)
    return affine


def has_volume(affine: Affine) -> bool:
    """Whether a 4x4 affine is finite and its three axes span a volume."""
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        volume = np.linalg.det(affine[:3, :3])
        finite = np.isfinite(affine).all() and np.isfinite(lengths.prod()) and np.isfinite(volume)
        return bool(finite and (lengths > 0).all() and abs(volume) >= 1e-3 * lengths.prod())


def _scaling(header: Nifti1Header, path: Path) -> tuple[float, float] | None:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise VolumeError(f"scl_slope or scl_inter is invalid ({error})", fix="correct the header", path=path) from None
    if slope is None or (slope, intercept or 0.0) == (1.0, 0.0):
        return None
    return float(slope), float(intercept or 0.0)


def _geometry_only(header: Nifti1Header, shape: tuple[int, ...]) -> Nifti1Header:
    """A fresh header with the geometry of another and nothing else of it."""
    clean = type(header)(endianness=header.endianness)
    clean.set_data_dtype(np.uint8)
    for name in (
        "qform_code",
        "sform_code",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "qoffset_x",
        "qoffset_y",
        "qoffset_z",
    ):
        clean[name] = header[name]
    for name in ("srow_x", "srow_y", "srow_z", "pixdim", "xyzt_units"):
        clean[name] = header[name]
    clean["dim"][0] = len(shape)
    clean["dim"][1 : len(shape) + 1] = shape
    clean["scl_slope"], clean["scl_inter"] = 1, 0
    clean["vox_offset"] = type(header).single_vox_offset
    clean["magic"] = type(header).single_magic
    return clean
