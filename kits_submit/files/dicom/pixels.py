"""A slice's voxels as float32 HU: native ones straight from the file, others by pydicom's decoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from kits_submit.errors import VolumeError, first_line
from kits_submit.files.dicom.extended import decode_extended, is_extended
from kits_submit.files.dicom.geometry import named
from kits_submit.files.dicom.headers import Place, Slice
from kits_submit.files.dicom.needs import EXTRA, need
from kits_submit.types import Array

_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"  # of a sequence of fragments (PS3.5 A.4)
_AGAIN = "export the series again, whole"


def read_hu(one: Slice, slices: Sequence[Slice]) -> npt.NDArray[np.float32]:
    """Rows x columns, slope and intercept of this slice applied.

    Raises:
        VolumeError: no pixel data, cut off, damaged, or no decoder for its transfer syntax.
    """
    if one.trouble:
        raise VolumeError(f"{named(one, slices)} {one.trouble}", fix=_AGAIN)
    stored = _native(one) if one.pixels_at is not None and one.bits[0] == 16 else None
    if stored is None:
        stored = _decoded(one, slices)
    values = stored.astype(np.float32)
    if one.slope != 1:
        values *= np.float32(one.slope)
    if one.intercept:
        values += np.float32(one.intercept)
    return values


def check_syntax(one: Slice, slices: Sequence[Slice]) -> None:
    """Raises VolumeError where no decoder here knows how `one` is compressed."""
    if one.trouble:
        raise VolumeError(f"{named(one, slices)} {one.trouble}", fix=_AGAIN)
    if one.pixels_at is not None:
        return
    uid = need("pydicom.uid").UID(one.syntax)
    if uid.is_private or not uid.is_transfer_syntax:
        raise VolumeError("its transfer syntax is a private one", fix="export it uncompressed, or as JPEG or JPEG 2000")
    if not uid.is_compressed or uid.is_deflated:
        return
    try:
        available = need("pydicom.pixels").get_decoder(uid).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise VolumeError(f"it is compressed as {uid.name}, and no decoder here knows that", fix=EXTRA)


def _native(one: Slice) -> Array | None:
    """16-bit voxels as they lie in the file, bits above `BitsStored` (overlays of old files) cleared."""
    rows, columns = one.shape
    with one.place.open() as stream:
        stream.seek(one.pixels_at or 0)
        held = stream.read(rows * columns * 2)
    if len(held) < rows * columns * 2:
        return None
    stored = np.frombuffer(held, "<i2" if one.bits[2] else "<u2").reshape(rows, columns)
    unused = 16 - one.bits[1]
    return stored if unused <= 0 else np.right_shift(np.left_shift(stored, unused), unused)


def _fragments(one: Slice) -> Array | None:
    """A compressed plane without its header read again; None where that does not do."""
    if one.encoded_at is None or is_extended(one):
        return None
    with one.place.open() as stream:
        stream.seek(one.encoded_at)
        held = stream.read()
    if _DELIMITER not in held:  # cut off
        return None
    rows, columns = one.shape
    decoder = need("pydicom.pixels").get_decoder(need("pydicom.uid").UID(one.syntax))
    try:
        decoded: Array = decoder.as_array(
            held, rows=rows, columns=columns, samples_per_pixel=1, bits_allocated=one.bits[0], bits_stored=one.bits[1],
            pixel_representation=int(one.bits[2]), photometric_interpretation="MONOCHROME2", number_of_frames=1,
            pixel_keyword="PixelData",
        )[0]  # fmt: skip
    except Exception:  # each decoder has kinds of its own; the file as a whole is tried next, and told
        return None
    return decoded if decoded.shape == one.shape else None


def _decoded(one: Slice, slices: Sequence[Slice]) -> Array:
    fragments = _fragments(one)
    if fragments is not None:
        return fragments
    try:
        dataset = _dataset(one.place) if one.frame is not None else _read(one.place)
        if "PixelData" not in dataset:
            raise VolumeError(f"{named(one, slices)} has no pixel data", fix=_AGAIN)
        decoded: Array
        if is_extended(one):
            decoded = decode_extended(dataset, one)
        elif one.frame is None:
            decoded = dataset.pixel_array
        else:
            decoded = need("pydicom.pixels").pixel_array(dataset, index=one.frame)
    except VolumeError:
        raise
    except Exception as error:  # each decoder has kinds of its own
        raise VolumeError(f"{named(one, slices)} cannot be decoded ({first_line(error)})", fix=_AGAIN) from None
    if decoded.shape != one.shape:
        raise VolumeError(f"{named(one, slices)} decodes to {decoded.shape}, not {one.shape}", fix=_AGAIN)
    return decoded


def _read(place: Place) -> Any:
    with place.open() as stream:
        return need().dcmread(stream, force=True)


@lru_cache(maxsize=1)
def _dataset(place: Place) -> Any:
    """A multi-frame file, kept while its frames are taken one by one."""
    return _read(place)
