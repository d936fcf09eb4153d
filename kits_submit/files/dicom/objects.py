"""What a run leaves of a series: its Segmentation, and beside it what was asked for."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection
from pathlib import Path

from kits_submit.files.dicom.codes import Maker
from kits_submit.files.dicom.report import write_report
from kits_submit.files.dicom.seg import write_seg
from kits_submit.files.dicom.stack import SeriesHeader, unshifted
from kits_submit.files.dicom.structures import write_structures
from kits_submit.files.nifti import write_nifti
from kits_submit.types import Array

_SILENCED = threading.Lock()  # filters of warnings are the process's own, and are put back in turn
_SUFFIXES = {"nifti": ".nii.gz", "labelmap": ".labelmap.dcm", "sr": ".sr.dcm", "rtstruct": ".rtstruct.dcm"}
ALSO = tuple(_SUFFIXES)


def beside(path: Path, kind: str) -> Path:
    """The file of a kind of `ALSO` that stands beside a Segmentation."""
    return path.with_suffix(_SUFFIXES[kind])


def write_objects(path: Path, stored: Array, header: SeriesHeader, maker: Maker, also: Collection[str] = ()) -> None:
    """Write a uint8 label map of the series' grid (column, row, slice).

    - `path`, `NAME.dcm`: the Segmentation; `nifti`: `NAME.nii.gz`; `labelmap`: `NAME.labelmap.dcm`, a Segmentation of
      class numbers; `sr`: `NAME.sr.dcm`, a Structured Report with the volumes; `rtstruct`: `NAME.rtstruct.dcm`, an RT
      Structure Set.

    Raises:
        GeometryError: as `write_seg`.
        OutputError: a file cannot be written.
    """
    with _SILENCED, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom's hold the patient's name
        _write(path, stored, header, maker, also)


def _write(path: Path, stored: Array, header: SeriesHeader, maker: Maker, also: Collection[str]) -> None:
    layout = header.layout
    if layout.tilt_degrees:
        stored = unshifted(stored, layout.shifts, layout.slices[0].shape[0])
    if "nifti" in also:
        write_nifti(beside(path, "nifti"), stored, header.nifti(), stored.shape)
    if "labelmap" in also:
        write_seg(beside(path, "labelmap"), stored, header, maker, label_map=True)
    segmentation = write_seg(path, stored, header, maker)
    if "rtstruct" in also:
        write_structures(beside(path, "rtstruct"), stored, header, maker)
    if "sr" in also:
        write_report(beside(path, "sr"), segmentation, stored, header, maker)
