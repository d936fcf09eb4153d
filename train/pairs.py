"""A labelled case: its image and its label map, read together and held against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from evaluation.masks.geometry import check_same_grid
from kits_submit.errors import InputError, LabelError
from kits_submit.files.cases import Case
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.discover import series_content
from kits_submit.files.masks import drawn_on, read_labels_of
from kits_submit.files.volume import Planes, open_planes, read_grid, read_volume
from kits_submit.labels import CYST, KIDNEY, LabelSet
from kits_submit.types import Image, Labels, Spacing


def read_pair(case: Case, classes: LabelSet, *, cysts_as_kidney: bool = False) -> tuple[Image, Labels, Spacing]:
    """A case's HU, labels and spacing.

    Args:
        classes: what its labels may be.
        cysts_as_kidney: a label 3 of the file, KiTS21's and KiTS23's cyst, becomes 1, as KiTS19 has it.

    Raises:
        InputError: no image or no label.
        VolumeError: a file that cannot be read.
        GeometryError: image and label differ in shape or affine.
        LabelError: a label that `classes` has not.
    """
    image_path, _ = files_of(case)
    label = _read_label(case, classes, cysts_as_kidney=cysts_as_kidney)
    volume = read_volume(image_path)
    return volume.voxels, label, volume.grid.spacing_mm


@contextmanager
def open_pair(case: Case, classes: LabelSet, *, cysts_as_kidney: bool = False) -> Iterator[tuple[Planes, Labels]]:
    """A case's image, plane by plane as its file stores it, and its labels (Z, Y, X).

    Args, Raises: as `read_pair`; what is wrong inside of the image is told when its stream comes to it.
    """
    image_path, _ = files_of(case)
    label = _read_label(case, classes, cysts_as_kidney=cysts_as_kidney)
    with open_planes(image_path) as planes:
        yield planes, label


def _read_label(case: Case, classes: LabelSet, *, cysts_as_kidney: bool) -> Labels:
    image_path, label_path = files_of(case)
    fix = "use the label that belongs to the image, written on its grid"
    image_grid = read_grid(image_path)
    check_same_grid(read_grid(label_path), drawn_on(image_grid), label_path, named="the image", fix=fix)
    voxels = read_labels_of(label_path, image_grid)
    if cysts_as_kidney:
        voxels = np.where(voxels == CYST, np.uint8(KIDNEY), voxels)
    highest = int(voxels.max())
    if highest >= len(classes):
        what = f"a label is {highest}, allowed: 0 to {len(classes) - 1}"
        raise LabelError(what, fix=_KITS23_FIX if highest == CYST else "map it first", path=label_path)
    return voxels


_KITS23_FIX = "train with --labels kits23 if it is KiTS23's cyst, or with --cysts-as-kidney to count it as kidney"


def files_of(case: Case) -> tuple[Path, Path]:
    """Image and label.

    Raises:
        InputError: one of them is not there.
    """
    if case.image is None or case.label is None:
        missing = "image" if case.image is None else "label"
        raise InputError(f"{case.case_id} has no {missing}", fix="training needs both of each case", path=case.folder)
    return case.image, case.label


def content_hash(case: Case) -> str:
    """sha256 over the bytes of a case's image and label files; of a DICOM series over its files' names and states."""
    return content_hashes(case)[0]


def content_hashes(case: Case) -> tuple[str, str]:
    """`content_hash`, and sha256 of the image alone."""
    image, label = (_file_hash(path) for path in files_of(case))
    return hashlib.sha256(image + label).hexdigest(), image.hex()


def _file_hash(path: Path) -> bytes:
    if path.suffix == SERIES:
        return series_content(path).encode()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
