"""Phantoms to disk in KiTS19's layout: `case_00000/{imaging,segmentation}.nii.gz`.

Images are float64 as KiTS stores them, labels uint8. Files are written beside their place and moved into it,
with nothing in the gzip header that changes from run to run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Header

from kits_submit.atomic import replacing
from kits_submit.errors import InputError, LabelError, OutputError
from kits_submit.files.volume import read_labels
from kits_submit.labels import KITS19, LabelSet
from kits_submit.phantom.around import draw_around
from kits_submit.phantom.draw import Phantom, draw_phantom
from kits_submit.types import Affine, Array, Image, Labels, Spacing

_CHUNK_VOXELS = 4_000_000  # 32 MB of float64 at a time
KITS_DTYPE: np.dtype[Any] = np.dtype("<f8")
_COMPRESSION = 1  # of isal's 0 to 3: measured 2x smaller than 0 at about the same speed

_NIFTI_HEADER: Any = Nifti1Header  # neither library is typed
_GZIP_FILE: Any = igzip.IGzipFile


def write_phantoms(
    out: Path,
    cases: int,
    seed: int,
    *,
    spacing_mm: Spacing | None = None,
    matrix: int = 512,
    max_slices: int | None = None,
    labels: LabelSet = KITS19,
    any_hospital: bool = False,
    first: int = 0,
    on_case: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draw and write cases `first` to `first + cases - 1`; returns their folders.

    Args: as `draw_phantom`; on_case: called with each case's name after it is written.

    Raises:
        InputError: an argument is out of range.
        OutputError: `out` cannot be written.
    """
    if cases < 1:
        raise InputError(f"cases={cases}, allowed 1 or more", fix="ask for at least one case")
    if first < 0 or first + cases > 100_000:
        raise InputError(f"first={first}, cases={cases}: case numbers have five digits", fix="stay within 0 to 99999")
    folders = []
    for index in range(first, first + cases):
        phantom = draw_phantom(
            seed, index, spacing_mm=spacing_mm, matrix=matrix, max_slices=max_slices, labels=labels,
            any_hospital=any_hospital,
        )  # fmt: skip
        folder = out / f"case_{index:05d}"
        write_phantom(phantom, folder)
        folders.append(folder)
        if on_case is not None:
            on_case(folder.name)
    return folders


def write_around(
    out: Path,
    masks: Mapping[str, Path],
    seed: int,
    phase: str | None = None,
    on_case: Callable[[str], None] | None = None,
) -> None:
    """Draw and write a CT around each label map: CASE/imaging.nii.gz on its grid, and the very label file beside.

    A case depends on the seed, its own name and its labels, whatever others are drawn.

    Raises:
        VolumeError, LabelError: a label map that cannot be read, without a kidney, or with a label above 3.
        OutputError: `out` cannot be written.
    """
    for case, path in masks.items():
        read = read_labels(path)
        own = int.from_bytes(hashlib.sha256(case.encode()).digest()[:4])
        try:
            hu = draw_around(np.ascontiguousarray(read.voxels), read.grid.spacing_mm, (seed, own), phase)
        except LabelError as error:
            raise LabelError(error.what, fix=error.fix, path=path) from None
        folder = out / case
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / "imaging.nii.gz", read.grid.stored_view(hu), KITS_DTYPE, read.grid.affine)
            with replacing(folder / f"segmentation{''.join(path.suffixes[-2:])}") as copy:
                copy.write(path.read_bytes())
        except OSError as error:
            raise _unwritable(folder, error) from None
        if on_case is not None:
            on_case(case)


def write_phantom(phantom: Phantom, case_dir: Path) -> None:
    """Write `imaging.nii.gz` (float64) and `segmentation.nii.gz` (uint8) into `case_dir`; raises as `write_case`."""
    write_case(case_dir, phantom.image, phantom.labels, phantom.affine)


def write_case(case_dir: Path, image: Image, labels: Labels, affine: Affine, dtype: np.dtype[Any] = KITS_DTYPE) -> None:
    """Write ZYX HU, as `dtype`, and ZYX labels as one KiTS case.

    Raises:
        OutputError: the folder or a file cannot be written.
    """
    try:
        case_dir.mkdir(parents=True, exist_ok=True)
        _write(case_dir / "imaging.nii.gz", image, dtype, affine)
        _write(case_dir / "segmentation.nii.gz", labels, np.dtype("u1"), affine)
    except OSError as error:
        raise _unwritable(case_dir, error) from error


def _unwritable(case_dir: Path, error: OSError) -> OutputError:
    reason = error.strerror or error
    return OutputError(
        f"the case cannot be written ({reason})", fix="choose a folder that can be written", path=case_dir
    )


def _write(path: Path, volume_ZYX: Array, dtype: np.dtype[np.generic], affine: Affine) -> None:
    header = _NIFTI_HEADER()
    header.set_data_dtype(dtype)
    header.set_data_shape(volume_ZYX.shape)
    header.set_sform(affine, code=2)
    header.set_qform(affine, code=0)
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with (
            beside.open("wb") as raw,
            _GZIP_FILE(filename="", fileobj=raw, mode="wb", compresslevel=_COMPRESSION, mtime=0) as packed,
        ):
            packed.write(header.binaryblock + bytes(4))
            for part in _fortran_order(volume_ZYX, dtype):
                packed.write(part)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _fortran_order(volume_ZYX: Array, dtype: np.dtype[np.generic]) -> Iterator[memoryview]:
    """The voxels in NIfTI's order (first axis fastest), some columns at a time."""
    columns = max(1, _CHUNK_VOXELS // (volume_ZYX.shape[0] * volume_ZYX.shape[1]))
    for start in range(0, volume_ZYX.shape[2], columns):
        part = volume_ZYX[:, :, start : start + columns].transpose(2, 1, 0)
        yield np.ascontiguousarray(part, dtype).data
