"""Axis legend and array aliases. Arrays are Z, Y, X everywhere inside.

    N  patches in a batch
    C  input channels (one: the standardised HU)
    K  classes, as the Recipe's `LabelSet` numbers them: 0 is background
    Z  slices, towards the feet          (I of the orientation I, P, L)
    Y  rows, towards the back            (P)
    X  columns, towards the patient's left (L)

A name's suffix gives its axes (`logits_NKZYX`) or its unit (`spacing_mm`, `clip_hu`, `volume_ml`).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.float32]  # ZYX, HU or standardised
Labels: TypeAlias = npt.NDArray[np.uint8]  # ZYX, class numbers
Mask: TypeAlias = npt.NDArray[np.bool_]  # ZYX
Batch: TypeAlias = npt.NDArray[np.float32]  # NCZYX
Logits: TypeAlias = npt.NDArray[np.float32]  # NKZYX
Probabilities: TypeAlias = npt.NDArray[np.float32]  # KZYX
Affine: TypeAlias = npt.NDArray[np.float64]  # 4x4, voxel indices to mm (RAS+)
Array: TypeAlias = npt.NDArray[Any]

Shape: TypeAlias = tuple[int, int, int]  # Z, Y, X
Spacing: TypeAlias = tuple[float, float, float]  # mm along Z, Y, X
