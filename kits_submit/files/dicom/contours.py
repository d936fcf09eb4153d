"""An RT Structure Set's contours (PS3.3 C.8.8.6) as planes of labels: a voxel is inside where its centre is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kits_submit.errors import GeometryError, LabelError
from kits_submit.files.dicom.codes import number_of, role_of
from kits_submit.files.dicom.geometry import Layout
from kits_submit.types import Array


def contour_planes(dataset: Any, layout: Layout) -> dict[int, Array]:
    """Planes (row, column) of KiTS's class numbers by slice; contours in one another cut holes (even-odd).

    Raises:
        LabelError: no region is a kidney, a tumor or a cyst.
        GeometryError: a contour lies between the slices.
    """
    numbers = _classes(dataset)
    if not numbers:
        raise LabelError("no region is a kidney, a tumor or a cyst", fix="see the table of names in docs/dicom.md")
    to_voxels = np.linalg.inv(layout.source_affine)
    shape = layout.slices[0].shape
    planes: dict[int, Array] = {}
    regions = [roi for roi in dataset.ROIContourSequence if int(roi.ReferencedROINumber) in numbers]
    for roi in sorted(regions, key=lambda roi: numbers[int(roi.ReferencedROINumber)]):
        inside: dict[int, npt.NDArray[np.bool_]] = {}
        for contour in roi.get("ContourSequence") or []:
            if contour.get("ContourGeometricType", "CLOSED_PLANAR") not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                continue
            points = np.reshape(np.asarray(contour.ContourData, np.float64), (-1, 3)) * (-1, -1, 1)
            voxels = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
            k = round(float(voxels[:, 2].mean()))
            if not (0 <= k < len(layout.slices)) or float(np.abs(voxels[:, 2] - k).max()) > 0.1:
                raise GeometryError("a contour lies on none of the series' slices", fix="export it for this series")
            inside[k] = inside.get(k, np.zeros(shape, np.bool_)) ^ filled(voxels[:, :2], shape)
        for k, region in inside.items():
            planes.setdefault(k, np.zeros(shape, np.uint8))[region] = numbers[int(roi.ReferencedROINumber)]
    return planes


def filled(points: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The voxels (row, column) whose centres lie inside a closed polygon of (column, row) points, by even-odd rule.

    Each edge toggles, on every row whose centre line it crosses, all columns to the right of the crossing.
    """
    toggles = np.zeros((shape[0], shape[1] + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = sorted((y0, y1))
        rows = np.arange(max(0, int(np.ceil(low))), min(shape[0], int(np.ceil(high))))
        if rows.size:
            crossing = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
            np.add.at(toggles, (rows, np.clip(np.ceil(crossing), 0, shape[1]).astype(int)), 1)
    inside: npt.NDArray[np.bool_] = np.cumsum(toggles[:, :-1], axis=1) % 2 == 1
    return inside


def _classes(dataset: Any) -> dict[int, int]:
    coded: dict[int, str] = {}
    for observation in dataset.get("RTROIObservationsSequence") or []:
        codes = observation.get("RTROIIdentificationCodeSequence") or []
        coded[int(observation.ReferencedROINumber)] = str(codes[0].get("CodeValue", "")) if codes else ""
    numbers = {}
    for roi in dataset.StructureSetROISequence:
        role = role_of(coded.get(int(roi.ROINumber), ""), str(roi.get("ROIName", "")))
        if role is not None:
            numbers[int(roi.ROINumber)] = number_of(role)
    return numbers
