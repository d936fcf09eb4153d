"""The volumes of a mask as a DICOM Structured Report: TID 1500, Measurement Report (PS3.16), by highdicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kits_submit import __version__
from kits_submit.files.dicom.codes import KIDNEY, TYPES, Maker
from kits_submit.files.dicom.needs import need
from kits_submit.files.dicom.seg import MAKER_NAME, code, save, source_datasets
from kits_submit.files.dicom.stack import SeriesHeader
from kits_submit.labels import Role
from kits_submit.types import Array

_SERIES_NUMBER = 9101


def write_report(path: Path, segmentation: Any, stored: Array, header: SeriesHeader, maker: Maker) -> None:
    """Write one group of measurements a class that has voxels: its volume in ml, of its segment.

    Raises:
        OutputError: the file cannot be written.
    """
    hd, uid = need("highdicom"), need("pydicom.uid")
    sources, _ = source_datasets(header, path)
    voxel_ml = abs(float(np.linalg.det(header.layout.source_affine[:3, :3]))) / 1000
    counts = np.zeros(256, np.int64)
    for plane in stored.transpose(2, 1, 0):
        counts += np.bincount(plane.ravel(), minlength=256)
    groups = [
        _group(hd, number, float(counts[number]) * voxel_ml, segmentation, maker)
        for number in maker.labels.foreground
        if counts[number]
    ]
    observer = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid.generate_uid(entropy_srcs=[MAKER_NAME, maker.model]), name=MAKER_NAME, model_name=MAKER_NAME
        ),
    )
    document = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("77477000", "SCT", "Computed Tomography"),
        imaging_measurements=groups,
        title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
    )
    seeds = [str(segmentation.SOPInstanceUID), "report"]
    report = hd.sr.Comprehensive3DSR(
        evidence=[segmentation, *sources],
        content=document,
        series_instance_uid=uid.generate_uid(entropy_srcs=[*seeds, "series"]),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid.generate_uid(entropy_srcs=[*seeds, "instance"]),
        instance_number=1,
        manufacturer=MAKER_NAME,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    report.ManufacturerModelName = MAKER_NAME
    report.SoftwareVersions = __version__
    report.DeviceSerialNumber = maker.model[:16] or "none"
    report.SeriesDescription = "Kidney and tumor volumes"
    save(path, report)


def _group(hd: Any, number: int, volume_ml: float, segmentation: Any, maker: Maker) -> Any:
    role = maker.labels.roles[number]
    name = maker.labels.names[number]
    volume = hd.sr.Measurement(
        name=hd.sr.CodedConcept("118565006", "SCT", "Volume"),
        value=round(volume_ml, 4),
        unit=hd.sr.CodedConcept("mL", "UCUM", "milliliter"),
        algorithm_id=hd.sr.AlgorithmIdentification(name=MAKER_NAME, version=__version__),
    )
    is_mass = role in (Role.TUMOR, Role.CYST)
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=need("pydicom.uid").generate_uid(entropy_srcs=[str(segmentation.SOPInstanceUID), name]), identifier=name
        ),
        referenced_segment=hd.sr.ReferencedSegment.from_segmentation(segmentation, segment_number=number),
        finding_type=code(hd, TYPES[role]),
        finding_sites=[hd.sr.FindingSite(code(hd, KIDNEY))] if is_mass else None,
        measurements=[volume],
    )
