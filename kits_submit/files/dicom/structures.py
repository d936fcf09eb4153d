"""A mask as a DICOM RT Structure Set (PS3.3 A.19): contours along the voxels' own edges, so that they come back as the
same voxels.

A voxel is inside where its centre is, by the even-odd rule, as `kits_submit.files.dicom.contours` reads them. Implicit
VR, for a contour's points may be more than the 64 KiB that explicit VR allows them.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from kits_submit import __version__
from kits_submit.files.dicom.codes import TYPES, Maker
from kits_submit.files.dicom.headers import Slice
from kits_submit.files.dicom.needs import need
from kits_submit.files.dicom.outlines import Points, outlines
from kits_submit.files.dicom.seg import MAKER_NAME, save, source_datasets
from kits_submit.files.dicom.stack import SeriesHeader
from kits_submit.labels import Role
from kits_submit.types import Array

_SERIES_NUMBER = 9102
_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"  # RT Structure Set
_STUDY_STORAGE = "1.2.840.10008.3.1.2.3.1"  # what a study is referred to by (PS3.3 C.8.8.5.3), retired elsewhere
_COLOURS = {Role.KIDNEY: [220, 60, 60], Role.TUMOR: [60, 180, 75], Role.CYST: [65, 105, 225]}
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")


def write_structures(path: Path, stored: Array, header: SeriesHeader, maker: Maker) -> None:
    """Write a uint8 label map (column, row, slice of the source), a region of interest a class.

    Raises:
        GeometryError: as `kits_submit.files.dicom.seg.source_datasets`.
        OutputError: the file cannot be written.
    """
    uid = need("pydicom.uid")
    (source, *_), _ = source_datasets(header, path)
    content = hashlib.sha256(np.ascontiguousarray(stored.transpose(2, 1, 0)).data).hexdigest()
    seeds = [header.series.facts.series_uid, maker.model, content, "structures"]
    now = datetime.now().astimezone()
    told = {name: source.get(name, "") for name in (*_PATIENT, *_STUDY)} | {
        "SpecificCharacterSet": source.get("SpecificCharacterSet", "ISO_IR 192"),
        "SOPClassUID": _STORAGE,
        "SOPInstanceUID": uid.generate_uid(entropy_srcs=[*seeds, "instance"]),
        "SeriesInstanceUID": uid.generate_uid(entropy_srcs=[*seeds, "series"]),
        "SeriesNumber": _SERIES_NUMBER,
        "SeriesDescription": "Kidney and tumor structures",
        "Modality": "RTSTRUCT",
        "OperatorsName": "",
        "Manufacturer": MAKER_NAME,
        "ManufacturerModelName": MAKER_NAME,
        "SoftwareVersions": __version__,
        "DeviceSerialNumber": maker.model[:16] or "none",
        "FrameOfReferenceUID": source.get("FrameOfReferenceUID", ""),
        "PositionReferenceIndicator": "",
        "StructureSetLabel": "KIDNEY_TUMOR",
        "StructureSetDate": now.strftime("%Y%m%d"),
        "StructureSetTime": now.strftime("%H%M%S"),
        "ApprovalStatus": "UNAPPROVED",
        "ReferencedFrameOfReferenceSequence": [_frame_of_reference(source, header)],
        "StructureSetROISequence": [_region(number, source, maker) for number in maker.labels.foreground],
        "ROIContourSequence": [_contours(number, stored, header, source, maker) for number in maker.labels.foreground],
        "RTROIObservationsSequence": [_observation(number, maker) for number in maker.labels.foreground],
    }
    dataset = _item(**told)
    dataset.file_meta = need("pydicom.dataset").FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    save(path, dataset)


def _contours(number: int, stored: Array, header: SeriesHeader, source: Any, maker: Maker) -> Any:
    found = [
        (one, points)
        for one, plane in zip(header.layout.slices, stored.transpose(2, 1, 0), strict=True)
        for points in outlines(np.equal(plane, number))
    ]
    contours = [
        _item(
            ContourImageSequence=[_image(one, source)],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(points),
            ContourData=[f"{mm:.4f}" for mm in _in_mm(points, one).ravel()],
        )
        for one, points in found
    ]
    item = _item(ReferencedROINumber=number)
    if maker.labels.roles[number] in _COLOURS:
        item.ROIDisplayColor = _COLOURS[maker.labels.roles[number]]
    if contours:
        item.ContourSequence = contours
    return item


def _in_mm(points: Points, one: Slice) -> Points:
    along_row, along_column = np.reshape(one.axes, (2, 3))
    row_mm, column_mm = one.spacing_mm
    return np.asarray(
        np.array(one.position_mm) + points[:, :1] * column_mm * along_row + points[:, 1:] * row_mm * along_column
    )


def _region(number: int, source: Any, maker: Maker) -> Any:
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=source.get("FrameOfReferenceUID", ""),
        ROIName=maker.labels.names[number][:64],
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=f"{MAKER_NAME} {__version__}, model {maker.model[:16] or 'unknown'}",
    )


def _observation(number: int, maker: Maker) -> Any:
    role = maker.labels.roles[number]
    value, meaning = TYPES[role]
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[_item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)],
        RTROIInterpretedType="ORGAN" if role is Role.KIDNEY else "",
        ROIInterpreter="",
    )


def _frame_of_reference(source: Any, header: SeriesHeader) -> Any:
    slices = {one.uid: one for one in header.layout.slices}.values()
    series = _item(
        SeriesInstanceUID=source.SeriesInstanceUID, ContourImageSequence=[_image(one, source) for one in slices]
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY_STORAGE,
        ReferencedSOPInstanceUID=source.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=source.get("FrameOfReferenceUID", ""), RTReferencedStudySequence=[study])


def _image(one: Slice, source: Any) -> Any:
    item = _item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=one.uid)
    if one.frame is not None:
        item.ReferencedFrameNumber = one.frame + 1
    return item


def _item(**values: Any) -> Any:
    dataset = need("pydicom.dataset").Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset
