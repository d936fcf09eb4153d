"""Mass effect: what lay where a lesion grows is partly pushed outwards.

Around an outline of signed distance s (mm, negative inside) the tissue seen at s >= 0 came from deeper by

    shift(s) = GROWN * radius * (1 - s / reach)^2,   reach = REACH * radius

along the outline's normal: at the surface lies what lay GROWN * radius inside it, beyond `reach` nothing has moved. The
map folds nowhere, for its slope is at least 1 - 2 * GROWN / REACH > 0. Next to bone and gas the shift fades to none.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from kits_submit.types import Array, Image, Labels, Spacing

GROWN = 0.4
REACH = 1.0
_FADE_MM = 12.0


def displace(
    image: Image, labels: Labels, distance: Array, rigid_mm: Image, spacing_mm: Spacing, radius_mm: float
) -> tuple[Image, Labels]:
    """Copies of a box's image (cubic) and labels (nearest), both ZYX, with the tissue around a lesion pushed outwards.

    Args:
        distance: signed distance to the lesion's outline in mm.
        rigid_mm: distance to the nearest voxel that cannot move, 0 inside it.
        radius_mm: of the lesion; its size sets how far tissue moves.
    """
    reach = REACH * radius_mm
    shift = GROWN * radius_mm * np.square(np.clip(1 - np.maximum(distance, 0) / reach, 0, 1))
    shift = shift * np.clip(rigid_mm / _FADE_MM, 0, 1)
    normals = np.gradient(distance, *spacing_mm)
    length = np.maximum(np.sqrt(sum(n * n for n in normals)), 1e-6)
    source = np.stack(
        [
            index - shift * normal / length / spacing
            for index, normal, spacing in zip(np.indices(image.shape, np.float32), normals, spacing_mm, strict=True)
        ]
    )
    moved = ndimage.map_coordinates(image, source, order=3, mode="nearest", output=np.float32)
    still = shift == 0
    moved[still] = image[still]
    moved_labels = ndimage.map_coordinates(labels, source, order=0, mode="nearest")
    return moved, moved_labels
