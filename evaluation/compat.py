"""Read masks as the official code does, traps included (`--official-compat`).

- Both: arrays as stored, the affine ignored, only a shape mismatch is noticed; cases without prediction left out.
- kits19: a 4-D prediction is argmaxed on its last axis; floats are rounded and cast to uint8.
- kits23: the prediction's spacing is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation.boxes import MaskPair
from kits_submit.errors import GeometryError, InputError, VolumeError
from kits_submit.types import Array, Labels, Spacing


def read_officially(protocol: str, prediction: Path | None, truth: Path) -> MaskPair:
    """Both label maps as the official code of a protocol sees them.

    Raises:
        VolumeError: a file that nibabel cannot read, or one that is not 3-D.
        GeometryError: the shapes differ: where the official code raises.
    """
    if prediction is None:
        raise InputError("no prediction", fix="--official-compat scores the files present", path=truth)
    ours, spacing_mm = _load(prediction)
    theirs, _ = _load(truth)
    if ours.ndim == 4 and protocol in ("kits19", "all"):
        ours = ours.argmax(axis=-1)
    for array, path in ((ours, prediction), (theirs, truth)):
        if array.ndim != 3:
            raise VolumeError(f"the volume has shape {array.shape}", fix="give one 3-D volume a file", path=path)
    if ours.shape != theirs.shape:
        raise GeometryError(
            f"shape {ours.shape} but the truth has {theirs.shape}",
            fix="the official code raises here too",
            path=prediction,
        )
    return MaskPair.of(_as_uint8(ours), _as_uint8(theirs), spacing_mm)


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


def _as_uint8(voxels: Array) -> Labels:
    if voxels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return np.round(voxels).astype(np.uint8)
    return voxels.astype(np.uint8, copy=False)
