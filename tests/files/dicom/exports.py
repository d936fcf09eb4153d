"""Small DICOM series made for a test, as a scanner would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT = "Roe^Jane"
SPACING = (2.0, 0.9, 0.8)  # slices, rows, columns
HEAD_FIRST_SUPINE = (1, 0, 0, 0, 1, 0)
SHAPE = (6, 40, 48)


def block_hu(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Noise, and a kidney of 150 HU with a tumor of 260 HU in it: what no axis can be turned in unnoticed."""
    z, y, x = shape
    hu = np.random.default_rng(5).integers(-60, 60, shape).astype(np.int16)
    hu[1 : z - 1, 3 : y - 6, 4 : x - 8] = 150
    hu[2 : z - 2, 5 : y - 10, 6 : x - 12] = 260
    return hu


def write_series(
    folder: Path,
    hu: np.ndarray | None = None,
    *,
    uid: str = "1.2.826.0.1.3680043.8.498.1",
    axes: tuple[float, ...] = HEAD_FIRST_SUPINE,
    tilt_degrees: float = 0.0,
    name: Callable[[int], str] = "IM{:04d}".format,
    change: Callable[[int, Any], None] = lambda k, ds: None,
) -> Path:
    """Slices of `hu` (slice, row, column) along the normal of `axes`, or along Z where the gantry is tilted."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = block_hu() if hu is None else hu
    step = np.cross(axes[:3], axes[3:]) * SPACING[0]
    if tilt_degrees:
        angle = np.deg2rad(tilt_degrees)
        axes = (1, 0, 0, 0, float(np.cos(angle)), float(-np.sin(angle)))
        step = np.array([0, 0, SPACING[0]])
    for k, plane in enumerate(hu):
        ds = slice_of(plane, uid, k, axes, np.array([-10.0, -20.0, 30.0]) + k * step)
        change(k, ds)
        if ds.get("Rows"):
            ds.save_as(folder / name(k), enforce_file_format=True)
    return folder


def slice_of(plane: np.ndarray, uid: str, k: int, axes: tuple[float, ...], position: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(k)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = PATIENT, "ID-4711", "19500101", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.9", uid
    ds.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.8"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "1", ""
    ds.ContentDate, ds.ContentTime, ds.AcquisitionDate, ds.AcquisitionTime = "20200101", "120000", "20200101", "120000"
    ds.ReferringPhysicianName, ds.Manufacturer, ds.PositionReferenceIndicator = "", "Maker", ""
    ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "CT", "portal venous 2 mm", 4, k + 1
    ds.ImageType, ds.PatientPosition, ds.KVP, ds.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], "HFS", "120", 1
    ds.ImagePositionPatient = [round(float(v), 6) for v in position]
    ds.ImageOrientationPatient = [round(float(v), 8) for v in axes]
    ds.PixelSpacing, ds.SliceThickness = [SPACING[1], SPACING[2]], SPACING[0]
    ds.Rows, ds.Columns = plane.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
    return ds


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def rewritten(path: Path, change: Callable[[Any], None]) -> None:
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
