"""What a DICOM file's header says of its slices and its series: numbers of geometry, and where the voxels lie.

Attributes by PS3.3: Image Plane (C.7.6.2), CT Image (C.8.2.1), Multi-frame Functional Groups (C.7.6.16).
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kits_submit.errors import VolumeError, first_line
from kits_submit.files.dicom.needs import need

_TAGS = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription",
    "ProtocolName", "ContrastBolusAgent", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
    "PatientID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope",
    "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence",
]  # fmt: skip
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # implicit and explicit VR, little endian
_ENCAPSULATED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")  # JPEG of every kind, RLE
_PIXEL_DATA = b"\xe0\x7f\x10\x00"


@dataclass(frozen=True)
class Place:
    """A file, or a member of a zip."""

    file: Path
    member: str = ""

    def open(self) -> IO[bytes]:
        """Its bytes, to be closed by the caller."""
        return io.BytesIO(_archive(self.file).read(self.member)) if self.member else self.file.open("rb")


@dataclass(frozen=True)
class Slice:
    """One plane of a series.

    - `frame`: of a multi-frame file, from 0; None in a file of one plane.
    - `position_mm`, `axes`: of the first voxel's centre, and the directions along a row and along a column, in LPS.
    - `spacing_mm`: between rows, between columns; `shape`: rows, columns.
    - `pixels_at`: the byte where native voxels begin; None where they are compressed or not there.
    - `encoded_at`: the byte where a compressed plane's fragments begin; None elsewhere.
    - `trouble`: why its voxels cannot be read; empty where nothing is known to be wrong.
    """

    place: Place
    frame: int | None
    uid: str
    number: int | None
    position_mm: tuple[float, ...]
    axes: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    shape: tuple[int, int]
    slope: float
    intercept: float
    bits: tuple[int, int, bool]
    syntax: str
    pixels_at: int | None
    encoded_at: int | None = None
    trouble: str = ""

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the plane, LPS."""
        return np.cross(self.axes[:3], self.axes[3:])


@dataclass(frozen=True)
class Facts:
    """What a file says of its series. `patient_id` goes into a file's name when it is asked for, nowhere else."""

    series_uid: str
    study_uid: str
    sop_class: str
    modality: str
    description: str
    protocol: str
    contrast: str
    image_type: tuple[str, ...]
    number: str
    patient_id: str
    samples: int
    referenced_series: str


def read_header(place: Place, known: Mapping[str, Facts] | None = None) -> tuple[Facts, list[Slice]] | None:
    """A file's facts and planes; None for what is no DICOM file, or one of no series.

    Args:
        known: facts by series' UID, which are not read again for another file of that series.

    Raises:
        VolumeError: it begins as a DICOM file, and its header cannot be read.
    """
    pydicom = need()
    try:
        with place.open() as stream:
            found = _parsed(pydicom, stream)
            if found is None or not found.get("SeriesInstanceUID"):
                return None
            at, trouble = _pixels(found, stream)
            facts = (known or {}).get(str(found.SeriesInstanceUID)) or _facts(found)
            return facts, list(_slices(found, place, at, trouble, _encoded_at(found, stream)))
    except Exception as error:  # a damaged header fails anywhere
        if _begins_as_dicom(place):
            raise VolumeError(f"its header cannot be read ({first_line(error)})", fix="export it again") from None
        return None


def _begins_as_dicom(place: Place) -> bool:
    try:
        with place.open() as stream:
            return stream.read(132)[128:] == b"DICM"
    except (OSError, zipfile.BadZipFile):
        return False


def _parsed(pydicom: Any, stream: IO[bytes]) -> Any:
    start = stream.read(132)
    if start[128:] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00"):
        return None
    stream.seek(0)
    try:
        return pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_tags(), force=start[128:] != b"DICM")
    except pydicom.errors.InvalidDicomError:
        return None


def _facts(found: Any) -> Facts:
    def text(name: str) -> str:
        return str(found.get(name) or "").strip()

    return Facts(
        series_uid=text("SeriesInstanceUID"),
        study_uid=text("StudyInstanceUID"),
        sop_class=text("SOPClassUID"),
        modality=text("Modality"),
        description=text("SeriesDescription"),
        protocol=text("ProtocolName"),
        contrast=text("ContrastBolusAgent"),
        image_type=tuple(str(value).upper() for value in found.get("ImageType") or ()),
        number=text("SeriesNumber"),
        patient_id=text("PatientID"),
        samples=int(found.get("SamplesPerPixel") or 1),
        referenced_series=referenced_series(found),
    )


def referenced_series(dataset: Any) -> str:
    """UID of the series that a Segmentation or a Structure Set was made of; empty where it does not say."""
    for series in dataset.get("ReferencedSeriesSequence") or []:
        return str(series.get("SeriesInstanceUID", ""))
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                return str(series.get("SeriesInstanceUID", ""))
    return ""


def _pixels(found: Any, stream: IO[bytes]) -> tuple[int | None, str]:
    """Where native voxels begin, and what is wrong with them."""
    syntax = str(found.file_meta.get("TransferSyntaxUID", _NATIVE[0])) if hasattr(found, "file_meta") else _NATIVE[0]
    if syntax not in _NATIVE:
        return None, ""
    tag = stream.read(12)
    if tag[:4] != _PIXEL_DATA:
        return None, "has no pixel data"
    explicit = tag[4:6] in (b"OW", b"OB")
    at = stream.tell() if explicit else stream.tell() - 4
    stated = int.from_bytes(tag[8:12] if explicit else tag[4:8], "little")
    held = stream.seek(0, io.SEEK_END) - at
    wanted = int(found.get("Rows") or 0) * int(found.get("Columns") or 0) * int(found.get("BitsAllocated") or 0) // 8
    wanted *= int(found.get("NumberOfFrames") or 1)
    return at, "ends early" if held < min(stated, wanted) or stated < wanted else ""


def _encoded_at(found: Any, stream: IO[bytes]) -> int | None:
    """Where fragments begin in a file of one plane, whose pixel data the stream stands before (PS3.5 A.4)."""
    syntax = getattr(found, "file_meta", {}).get("TransferSyntaxUID", "")
    if not str(syntax).startswith(_ENCAPSULATED) or found.get("PerFrameFunctionalGroupsSequence"):
        return None
    return stream.tell() if stream.read(12) == _PIXEL_DATA + b"OB\0\0\xff\xff\xff\xff" else None


def _slices(found: Any, place: Place, at: int | None, trouble: str, encoded_at: int | None = None) -> Iterator[Slice]:
    bits = int(found.get("BitsAllocated") or 0), int(found.get("BitsStored") or 0)
    meta = getattr(found, "file_meta", {})
    size = int(found.get("Rows") or 0), int(found.get("Columns") or 0)
    frames = int(found.get("NumberOfFrames") or 1)
    per_frame = list(found.get("PerFrameFunctionalGroupsSequence") or [])
    shared = (list(found.get("SharedFunctionalGroupsSequence") or []) or [{}])[0]
    groups: list[Any] = per_frame if per_frame else [{}]
    for k, group in enumerate(groups):
        sources: tuple[Any, ...] = (group, shared, found) if per_frame else (found,)
        yield Slice(
            place=place,
            frame=k if per_frame and frames > 0 else None,
            uid=str(found.get("SOPInstanceUID")),
            number=_whole(found.get("InstanceNumber")) if not per_frame else k + 1,
            position_mm=_numbers(sources, "PlanePositionSequence", "ImagePositionPatient", 3),
            axes=_numbers(sources, "PlaneOrientationSequence", "ImageOrientationPatient", 6),
            spacing_mm=_numbers(sources, "PixelMeasuresSequence", "PixelSpacing", 2),
            shape=size,
            slope=(*_numbers(sources, "PixelValueTransformationSequence", "RescaleSlope", 1), 1.0)[0],
            intercept=(*_numbers(sources, "PixelValueTransformationSequence", "RescaleIntercept", 1), 0.0)[0],
            bits=(*bits, bool(found.get("PixelRepresentation"))),
            syntax=str(meta.get("TransferSyntaxUID", _NATIVE[0])),
            pixels_at=None if at is None else at + k * size[0] * size[1] * bits[0] // 8,
            encoded_at=encoded_at,
            trouble=trouble,
        )


def _numbers(sources: tuple[Any, ...], sequence: str, name: str, count: int) -> tuple[float, ...]:
    """Of the frame's own group, the shared one, or the file itself; empty where it is nowhere or of another length."""
    for source in sources:
        inner = source.get(sequence) if len(sources) > 1 else None  # functional groups are of multi-frame files alone
        value = inner[0].get(name) if inner else _decimals(source, name)
        if value is not None and value != "":
            numbers = (float(value),) if count == 1 else tuple(float(v) for v in value)
            return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else ()
    return ()


def _decimals(source: Any, name: str) -> Any:
    """A decimal string's values as text, past pydicom's conversion, which takes as long as reading the voxels."""
    held = source.get_item(name).value if name in source else None
    if not isinstance(held, bytes):
        return source.get(name)
    values = held.decode("ascii").strip("\0 ").split("\\")
    return values[0] if len(values) == 1 else values


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


@cache
def _tags() -> list[Any]:
    """As numbers: pydicom looks names up anew for each file."""
    number = need("pydicom.tag").Tag
    return [number(name) for name in _TAGS]


@lru_cache(maxsize=2)
def _archive(file: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(file)
