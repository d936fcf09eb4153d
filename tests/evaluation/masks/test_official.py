"""What KiTS23's code is given: SimpleITK's values and spacing, compared with SimpleITK itself."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from evaluation.case import Settings
from evaluation.masks.official import as_simpleitk_reads
from kits_submit.errors import InputError

LABELS = (np.arange(4 * 5 * 6) % 4).reshape(4, 5, 6).astype(np.uint8)
AFFINE = np.diag([-0.8, -0.7, 3.0, 1.0])


def plain() -> nib.Nifti1Image:
    return nib.Nifti1Image(LABELS, AFFINE)


def scaled() -> nib.Nifti1Image:
    """3, 6 and 9 times a slope of 1/3, which in float64 is 1.0000000298."""
    image = nib.Nifti1Image(LABELS.astype(np.int16) * 3, AFFINE)
    image.header.set_slope_inter(1 / 3, 0)
    return image


def in_units(unit: str) -> nib.Nifti1Image:
    image = plain()
    image.header.set_xyzt_units(unit)
    return image


@pytest.mark.parametrize(
    "image",
    [
        plain(),
        nib.Nifti1Image(LABELS[..., None], AFFINE),
        scaled(),
        in_units("micron"),
        in_units("meter"),
        in_units("unknown"),
        nib.Nifti1Image(LABELS.astype(np.float64), AFFINE),
        nib.Nifti1Image(LABELS[:, :, :1], AFFINE),
    ],
    ids=["plain", "a last axis of one", "slope 1/3", "micrometres", "metres", "unknown", "float64", "one slice"],
)
def test_voxels_and_spacing_are_simpleitks(image: nib.Nifti1Image, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / "case_00001.nii.gz"
    nib.save(image, path)
    theirs = sitk.ReadImage(str(path))
    voxels, spacing_mm = as_simpleitk_reads(path)
    assert np.array_equal(voxels, sitk.GetArrayFromImage(theirs).transpose(2, 1, 0))
    assert spacing_mm == pytest.approx(theirs.GetSpacing())


@pytest.mark.parametrize("protocol", ["paper", "all"])
def test_what_has_no_official_code_is_refused(protocol: str) -> None:
    with pytest.raises(InputError, match=f"{protocol} has no official code to reproduce; use --protocol kits19"):
        Settings(protocol, official_compat=True)
