"""A mask as a DICOM Segmentation (PS3.3 A.51) on exactly the source's slices, by highdicom.

Every slice has its frame in every segment, empty ones too, so that the object holds its whole grid; deflated (PS3.5
A.5), the one compression that is allowed for frames of one bit and read everywhere, an empty frame costs a few bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from kits_submit import __version__
from kits_submit.atomic import replacing
from kits_submit.errors import GeometryError
from kits_submit.files.dicom.codes import ALTERED, KIDNEY, STRUCTURE, TYPES, Coded, Maker
from kits_submit.files.dicom.needs import need
from kits_submit.files.dicom.stack import SeriesHeader
from kits_submit.labels import Role
from kits_submit.types import Array

MAKER_NAME = "kits-submit"
_SERIES_NUMBER = 9100  # beyond those that scanners give


def write_seg(path: Path, stored: Array, header: SeriesHeader, maker: Maker, *, label_map: bool = False) -> Any:
    """Write a uint8 label map (column, row, slice of the source) and return the Segmentation.

    Args:
        label_map: one frame a slice with class numbers (Supplement 243), instead of one a class of single bits.

    Raises:
        GeometryError: the series is a multi-frame one spread over several files.
        OutputError: the file cannot be written.
    """
    hd, uid = need("highdicom"), need("pydicom.uid")
    sources, order = source_datasets(header, path)
    planes = stored.transpose(2, 1, 0)
    in_order = order == list(range(len(order)))
    frames = np.ascontiguousarray(planes if in_order else planes[order])  # a label map is held in memory once
    content = hashlib.sha256(frames.data).hexdigest()
    seeds = [header.series.facts.series_uid, maker.model, content, "label map" if label_map else "binary"]
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type="LABELMAP" if label_map else "BINARY",
        segment_descriptions=_segments(maker),
        series_instance_uid=uid.generate_uid(entropy_srcs=[*seeds, "series"]),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=uid.generate_uid(entropy_srcs=[*seeds, "instance"]),
        instance_number=1,
        manufacturer=MAKER_NAME,
        manufacturer_model_name=MAKER_NAME,
        software_versions=__version__,
        device_serial_number=maker.model[:16] or "none",
        content_label="KIDNEY_TUMOR",
        content_description="Kidney, kidney tumor and cyst",
        omit_empty_frames=False,
    )
    segmentation.SeriesDescription = "Kidney and tumor segmentation"
    segmentation.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    save(path, segmentation)
    return segmentation


def save(path: Path, dataset: Any) -> None:
    """Write beside, then rename; raises OutputError as `kits_submit.atomic.replacing`."""
    with replacing(path) as raw:
        need().dcmwrite(raw, dataset, enforce_file_format=True)


def source_datasets(header: SeriesHeader, path: Path) -> tuple[list[Any], list[int]]:
    """The source's headers, and which of the stack's slices each of their frames is.

    Raises:
        GeometryError: a multi-frame series in several files, which no Segmentation can refer to at once.
    """
    slices = header.layout.slices
    places = list(dict.fromkeys(one.place for one in slices))
    multi = slices[0].frame is not None
    if multi and len(places) > 1:
        raise GeometryError(
            f"the series' frames lie in {len(places)} files", fix="ask for the NIfTI mask instead", path=path
        )
    datasets = []
    for place in places:
        with place.open() as stream:
            datasets.append(need().dcmread(stream, stop_before_pixels=True, force=True))
    order = sorted(range(len(slices)), key=lambda k: slices[k].frame or 0) if multi else list(range(len(slices)))
    return datasets, order


def code(hd: Any, coded: Coded) -> Any:
    """SNOMED CT's concept."""
    return hd.sr.CodedConcept(coded[0], "SCT", coded[1])


def algorithm(hd: Any, maker: Maker) -> Any:
    """Name, version, and the model's hash as a parameter (PS3.3 10.16)."""
    return hd.AlgorithmIdentificationSequence(
        name=MAKER_NAME,
        version=__version__,
        family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        parameters={"model_sha256": maker.model} if maker.model else None,
    )


def _segments(maker: Maker) -> list[Any]:
    hd = need("highdicom")
    found = []
    for number in maker.labels.foreground:
        name, role = maker.labels.names[number], maker.labels.roles[number]
        is_mass = role in (Role.TUMOR, Role.CYST)
        found.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=name[:64],
                segmented_property_category=code(hd, ALTERED if is_mass else STRUCTURE),
                segmented_property_type=code(hd, TYPES[role]),
                algorithm_type="AUTOMATIC",
                algorithm_identification=algorithm(hd, maker),
                anatomic_regions=[code(hd, KIDNEY)] if is_mass else None,
            )
        )
    return found
