"""Fat drawn anew around and inside labelled kidneys: lean patients and obese ones, firm kidneys and shrunken ones.

Four scans show four patients. In others a kidney lies in centimetres of fat, or is a thin rind around a sinus full of
it, and is then no less a kidney. For a share of patches, each of these by a chance of its own:

    perirenal   fat out to some distance from the kidney, in place of what lay there; bone stays
    sinus       fat in place of what lies deeper in a kidney than its rind, and no longer kidney
    shrunken    a kidney's outermost millimetres become fat

Tumors, and kidney beside them, stay. HU in and out, float32 ZYX.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kits_submit.labels import KIDNEY
from kits_submit.types import Image, Labels, Mask, Spacing
from train.synthesis.field import smooth_field

PERIRENAL, PERIRENAL_MM = 0.6, (3.0, 25.0)
SINUS, RIND_MM = 0.4, (6.0, 13.0)
SHRUNKEN, LOST_MM = 0.3, (1.0, 4.0)
FAT_HU, FAT_SPREAD_HU = -100.0, 12.0
BONE_HU = 200.0
NEAR_TUMOR_MM = 8.0
UNEVEN, UNEVEN_GRAIN_MM = 0.25, 20.0  # of a distance, by a smooth field
EDGE_VOXELS = 0.6


def with_fat(hu: Image, label: Labels, spacing_mm: Spacing, rng: np.random.Generator) -> tuple[Image, Labels]:
    """A patch with fat drawn anew; equal generators give equal patches, and a patch without kidney stays."""
    perirenal, sinus, shrunken = (rng.random() < share for share in (PERIRENAL, SINUS, SHRUNKEN))
    reach, rind, lost = (float(rng.uniform(*mm)) for mm in (PERIRENAL_MM, RIND_MM, LOST_MM))
    held = label > 0
    if not held.any() or held.all() or not (perirenal or sinus or shrunken):
        return hu, label
    uneven = 1 + UNEVEN * np.clip(smooth_field(hu.shape, spacing_mm, UNEVEN_GRAIN_MM, rng) / 2, -1, 1)
    kidney = _far_from_tumor(label, spacing_mm)
    becomes = np.zeros(hu.shape, bool)
    if sinus or shrunken:
        depth = ndimage.distance_transform_edt(held, sampling=spacing_mm) * uneven
        becomes |= kidney & (((depth > rind) & sinus) | ((depth < lost) & shrunken))
    remains = np.where(becomes, 0, label).astype(label.dtype)
    if perirenal:
        out = ndimage.distance_transform_edt(~held, sampling=spacing_mm) * uneven
        becomes |= (out > 0) & (out < reach) & (hu < BONE_HU)
    share = ndimage.gaussian_filter(becomes.astype(np.float32), EDGE_VOXELS)
    share = np.where(becomes, np.maximum(share, 0.5), np.minimum(share, 0.5) * (hu < BONE_HU))
    fat = FAT_HU + FAT_SPREAD_HU * rng.standard_normal()
    return np.asarray(hu + share * (np.minimum(hu, fat) - hu), np.float32), remains


def _far_from_tumor(label: Labels, spacing_mm: Spacing) -> Mask:
    """Kidney farther than `NEAR_TUMOR_MM` from any other class of the foreground."""
    other = label > KIDNEY
    if not other.any():
        return np.asarray(label == KIDNEY)
    apart = ndimage.distance_transform_edt(~other, sampling=spacing_mm) > NEAR_TUMOR_MM
    return np.asarray((label == KIDNEY) & apart)
