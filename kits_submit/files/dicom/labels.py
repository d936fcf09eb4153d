"""Label maps out of DICOM: a Segmentation's frames, or an RT Structure Set's contours, by class of KiTS.

On the grid of the series that they refer to, where it lies below the same folder; a Segmentation whose series is not
there is its own grid, if its frames make a stack.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kits_submit.errors import GeometryError, KitsError, LabelError, VolumeError, first_line
from kits_submit.files.dicom.codes import number_of, role_of
from kits_submit.files.dicom.contours import contour_planes
from kits_submit.files.dicom.discover import Series, discover, series_key
from kits_submit.files.dicom.geometry import Layout, lay_out
from kits_submit.files.dicom.headers import Place, Slice, read_header, referenced_series
from kits_submit.files.dicom.needs import need
from kits_submit.files.dicom.stack import SeriesHeader
from kits_submit.types import Affine, Array

SUFFIX = ".dcm"
_NO_SERIES = "put the CT series beside it"


@dataclass(frozen=True)
class LabelStack:
    """An open label map; its `chunks` are single slices of uint8, axes (column, row, slice)."""

    path: Path
    header: SeriesHeader
    shape: tuple[int, ...]
    affine: Affine
    planes: Mapping[int, Array]
    scaling: None = None
    notes: tuple[str, ...] = ()

    def chunks(self, ahead: int = 0) -> Generator[tuple[slice, Array], None, None]:
        """Each slice in the order of the stack."""
        del ahead
        columns, rows, count = self.shape
        empty = np.zeros((rows, columns), np.uint8)
        for k in range(count):
            yield slice(k, k + 1), self.planes.get(k, empty).T[:, :, None]


@contextmanager
def open_labels(path: Path) -> Iterator[LabelStack]:
    """Open a DICOM Segmentation or RT Structure Set as KiTS's label map.

    Raises:
        VolumeError: neither of the two, or damaged.
        GeometryError: it refers to a series that is not there, or its frames lie on none of the series' slices.
        LabelError: nothing in it is a kidney, a tumor or a cyst.
    """
    found = read_header(Place(path))
    if found is None or found[0].modality not in ("SEG", "RTSTRUCT"):
        raise VolumeError("no DICOM Segmentation or RT Structure Set", fix="give a label map", path=path)
    try:
        dataset = need().dcmread(path)
        series = _source(path, dataset)
        if found[0].modality == "RTSTRUCT":
            header = _as_it_is(series, path)
            planes = contour_planes(dataset, header.layout)
        else:
            header = _as_it_is(series, path) if series is not None else _own(found, path)
            planes = _frames(dataset, found[1], header.layout)
    except KitsError as error:
        raise type(error)(error.what, fix=error.fix, path=path) from None
    except Exception as error:  # a damaged dataset fails anywhere
        raise VolumeError(f"cannot be read ({first_line(error)})", fix="export it again", path=path) from None
    yield LabelStack(path, header, header.layout.shape, header.layout.source_affine, planes)


def _source(path: Path, dataset: Any) -> Series | None:
    """The series that it refers to, below the same folder."""
    wanted = referenced_series(dataset)
    return next((s for s in discover(path.parent) if s.facts.series_uid == wanted and s.layout is not None), None)


def _as_it_is(series: Series | None, path: Path) -> SeriesHeader:
    """The source's slices without a tilt undone: contours and frames lie on these."""
    if series is None or series.layout is None:
        raise GeometryError("the CT series that it refers to is not there", fix=_NO_SERIES, path=path)
    layout = series.layout
    rows, count = layout.slices[0].shape[0], len(layout.slices)
    flat = replace(layout, affine=layout.source_affine, rows=rows, shifts=(0.0,) * count, tilt_degrees=0.0)
    return SeriesHeader(series, flat)


def _own(found: tuple[Any, list[Slice]], path: Path) -> SeriesHeader:
    """A Segmentation's frames as a stack, each place once."""
    facts, slices = found
    places = {tuple(np.round(one.position_mm, 3)): one for one in slices}
    try:
        layout = lay_out(list(places.values()))
    except GeometryError:
        raise GeometryError("its frames alone make no stack", fix=_NO_SERIES, path=path) from None
    return _as_it_is(Series(series_key(facts.series_uid), facts, tuple(slices), layout), path)


def _frames(dataset: Any, slices: list[Slice], layout: Layout) -> dict[int, Array]:
    """Planes (row, column) of class numbers by slice of the stack; a mass is drawn over the kidney that it lies in."""
    pixels = need("pydicom.pixels")
    numbers = _classes(dataset)
    label_map = dataset.get("SegmentationType") == "LABELMAP"
    half = max(1, int(dataset.get("MaximumFractionalValue") or 1) // 2 + 1)
    half = half if dataset.get("SegmentationType") == "FRACTIONAL" else 1
    planes: dict[int, Array] = {}
    depth = np.array([np.dot(one.position_mm, one.normal) for one in layout.slices])
    drawn = sorted(range(len(slices)), key=lambda f: 0 if label_map else numbers.get(_segment(dataset, f), 0))
    for f in drawn:
        number = 0 if label_map else numbers.get(_segment(dataset, f), 0)
        if not (label_map or number):
            continue
        k = _slice_of(slices[f], layout, depth)
        frame = pixels.pixel_array(dataset, index=f)
        if label_map:
            planes[k] = np.array([numbers.get(v, 0) for v in range(int(frame.max()) + 1)], np.uint8)[frame]
        elif (inside := frame >= half).any():
            planes.setdefault(k, np.zeros(frame.shape, np.uint8))[inside] = number
    return planes


def _classes(dataset: Any) -> dict[int, int]:
    """KiTS's number by the segment's own; cysts before tumors where both are drawn."""
    numbers = {}
    for segment in dataset.SegmentSequence:
        kinds = segment.get("SegmentedPropertyTypeCodeSequence") or []
        code = str(kinds[0].get("CodeValue", "")) if kinds else ""
        role = role_of(code, str(segment.get("SegmentLabel", "")))
        if role is not None:
            numbers[int(segment.SegmentNumber)] = number_of(role)
    if not numbers:
        raise LabelError("no segment is a kidney, a tumor or a cyst", fix="see the table of codes in docs/dicom.md")
    return numbers


def _segment(dataset: Any, frame: int) -> int:
    for groups in (dataset.PerFrameFunctionalGroupsSequence[frame], dataset.SharedFunctionalGroupsSequence[0]):
        if "SegmentIdentificationSequence" in groups:
            return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    return 0


def _slice_of(frame: Slice, layout: Layout, depth: Array) -> int:
    one = layout.slices[0]
    if frame.shape != one.shape or not np.allclose(frame.axes, one.axes, atol=1e-3):
        raise GeometryError("its frames are not on the series' slices", fix="export it on the CT's own grid")
    k = int(np.abs(depth - np.dot(frame.position_mm, one.normal)).argmin())
    off = float(np.linalg.norm(np.subtract(frame.position_mm, layout.slices[k].position_mm)))
    if off > 0.1:
        raise GeometryError(f"a frame lies {off:.2f} mm off the nearest slice", fix="export it on the CT's own grid")
    return k
