"""Read masks as the official code does, traps included (`--official-compat`).

- Both: arrays as stored, the affine ignored, only a shape mismatch is noticed; cases without prediction left out.
- kits19 (neheller/kits19, starter_code/evaluation.py): a 4-D prediction is argmaxed on its last axis, one of shape
  (Z, Y, X, 1) too, which makes it all background; its floats are rounded and cast to uint8, so that -1 and 258 are
  tumor; whatever is above 1, a cyst too, is tumor.
- kits23 (neheller/kits23, evaluation/metrics.py): the prediction's spacing is used; values other than exactly 1, 2 and
  3 are background, floats not rounded; a mask without any label is scored whatever its shape. It reads with SimpleITK:
  last axes of one voxel are dropped, so that (Z, Y, X, 1) is a volume; scaled integers are float32, in which 3 times a
  slope of 1/3 is 1; a header in metres or micrometres is taken to millimetres.

One difference is left: SimpleITK refuses an affine with shear, and such a file is scored here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation.masks.pair import MaskPair
from kits_submit.errors import GeometryError, InputError, VolumeError
from kits_submit.types import Array, Labels, Spacing

# Codes of values that are labels to KiTS19's code alone, as `kits.KITS19_OFFICIAL` counts them.
KIDNEY_IN_KITS19, TUMOR_IN_KITS19 = 4, 5


def read_officially(protocol: str, prediction: Path | None, truth: Path) -> MaskPair:
    """Both label maps as the official code of a protocol sees them.

    Raises:
        VolumeError: a file that nibabel cannot read, or one that is not 3-D.
        GeometryError: the shapes differ: where the official code raises.
    """
    if prediction is None:
        raise InputError("no prediction", fix="--official-compat scores the files present", path=truth)
    if protocol == "kits19":
        (ours, spacing_mm), (theirs, _) = _load(prediction), _load(truth)
        ours = ours.argmax(axis=-1) if ours.ndim == 4 else ours
    else:
        (ours, spacing_mm), (theirs, _) = (as_simpleitk_reads(path) for path in (prediction, truth))
    for array, path in ((ours, prediction), (theirs, truth)):
        if array.ndim != 3:
            raise VolumeError(f"the volume has shape {array.shape}", fix="give one 3-D volume a file", path=path)
    predicted, true = _coded(ours, _as_kits19_casts(ours)), _coded(theirs, theirs)
    if predicted.shape != true.shape and protocol == "kits23":
        predicted, true = _empty_as_the_other(predicted, true), _empty_as_the_other(true, predicted)
    if predicted.shape != true.shape:
        raise GeometryError(
            f"shape {ours.shape} but the truth has {theirs.shape}",
            fix="the official code raises here too",
            path=prediction,
        )
    return MaskPair.of(predicted, true, spacing_mm)


def as_simpleitk_reads(path: Path) -> tuple[Array, Spacing]:
    """Voxels X, Y, Z as SimpleITK has their values, and its spacing.

    Raises:
        VolumeError: a file that nibabel cannot read.
    """
    voxels, spacing_mm = _load(path)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    stored, unit = _stored(path)
    if voxels.dtype.kind == "f" and stored.kind in "iu":
        voxels = voxels.astype(np.float32)
    x, y, z = (unit * mm for mm in spacing_mm)
    return voxels, (x, y, z)


def _stored(path: Path) -> tuple[np.dtype[np.generic], float]:
    """The type of the file's numbers, and its unit of length in mm."""
    import nibabel

    header = nibabel.load(path).header
    if not hasattr(header, "get_xyzt_units"):
        return header.get_data_dtype(), 1.0
    return header.get_data_dtype(), {"meter": 1000.0, "micron": 0.001}.get(header.get_xyzt_units()[0], 1.0)


def _load(path: Path) -> tuple[Array, Spacing]:
    import zlib

    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.load(path)
        voxels: Array = np.asanyarray(image.dataobj)
        zooms = (*image.header.get_zooms(), 1.0, 1.0)
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        raise VolumeError(f"cannot be read ({error})", fix="check the file", path=path) from None
    return voxels, (float(zooms[0]), float(zooms[1]), float(zooms[2]))


def _as_kits19_casts(voxels: Array) -> Array:
    whole = voxels if voxels.dtype.kind in "iu" else np.round(voxels)
    with np.errstate(invalid="ignore"):
        return whole.astype(np.uint8)


def _coded(voxels: Array, in_kits19: Array) -> Labels:
    """1, 2 and 3 where both challenges see them; other values by what KiTS19's code makes of them."""
    codes = np.zeros(voxels.shape, np.uint8, order="F")
    codes[in_kits19 > 0] = KIDNEY_IN_KITS19
    codes[in_kits19 > 1] = TUMOR_IN_KITS19
    for label in (1, 2, 3):
        codes[voxels == label] = label
    return codes


def _empty_as_the_other(mask: Labels, other: Labels) -> Labels:
    """KiTS23's code returns 0 or 1 for an empty mask before it compares two arrays: nothing, on the other's grid."""
    return mask if ((mask > 0) & (mask < KIDNEY_IN_KITS19)).any() else np.zeros_like(other)
