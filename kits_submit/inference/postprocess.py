"""Refine predicted labels by morphology and component volume (paper section 2.3). Works on the source grid.

"We define a threshold to determine if the voxels of a predicted connected component should be assigned to the closest
category": the closest category of a component is here the one that it shares the largest surface with, in mm^2 over
voxel faces; a tie goes to the lower class. Kidney and tumor components are 26-connected, background ones 6-connected.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt

from kits_submit.labels import BACKGROUND, LabelSet, volume_ml
from kits_submit.recipe import Refinement
from kits_submit.types import Labels, Mask, Spacing

_COUNTED_AT_ONCE = 1 << 24


def refine(labels: Labels, spacing_mm: Spacing, refinement: Refinement, classes: LabelSet) -> Labels:
    """Refined copy of ZYX labels."""
    refined = labels.copy()
    refine_in_place(refined, spacing_mm, refinement, classes)
    return refined


def refine_in_place(labels: Labels, spacing_mm: Spacing, refinement: Refinement, classes: LabelSet) -> None:
    """Refine ZYX labels; the thresholds' meaning stands in `Refinement`.

    In order: opening of the foreground, cysts that are a part of a tumor and tumors that are a part of a cyst, small
    components of tumors, of cysts and of kidneys, small foreground components, foreground without a kidney, holes.
    Foreground is kidneys with their masses; classes that are neither are left as they are, but may take a small
    component that touches them most. Only the padded box of all that is not background is touched.
    """
    box = _padded_box(labels)
    if box is None:
        return
    inner = np.pad(labels[box], 1)  # the rim joins all outer background; cc3d 4.1 refuses some volumes one voxel thin
    _open(inner, spacing_mm, refinement.opening_mm, classes)
    _swallow(inner, classes.cyst, classes.tumor, refinement.cyst_in_tumor, spacing_mm, classes)
    _swallow(inner, classes.tumor, classes.cyst, refinement.tumor_in_cyst, spacing_mm, classes)
    thresholds_ml = [(tumor, refinement.tumor_min_ml) for tumor in classes.tumor]
    cyst_min_ml = refinement.tumor_min_ml if refinement.cyst_min_ml is None else refinement.cyst_min_ml
    thresholds_ml += [(cyst, cyst_min_ml) for cyst in classes.cyst]
    thresholds_ml += [(kidney, refinement.kidney_min_ml) for kidney in classes.kidney]
    for which, threshold_ml in thresholds_ml:
        around = _padded_box(inner == which)
        if around is not None:
            _reassign_small(inner[around], which, threshold_ml, spacing_mm, classes)
    _drop_foreground(inner, refinement, spacing_mm, classes)
    _reassign_small(inner, BACKGROUND, refinement.hole_max_ml, spacing_mm, classes)
    labels[box] = inner[1:-1, 1:-1, 1:-1]


def mask_of(labels: Labels, numbers: tuple[int, ...], classes: LabelSet) -> Mask:
    """Where `labels` is one of `numbers`."""
    if numbers == classes.foreground:
        return np.asarray(labels != BACKGROUND)
    if len(numbers) == 1:
        return np.asarray(labels == numbers[0])
    wanted = np.zeros(256, np.bool_)
    wanted[list(numbers)] = True
    return wanted[labels]


def _open(labels: Labels, spacing_mm: Spacing, radius_mm: float, classes: LabelSet) -> None:
    """Clear the foreground that no ball of this radius fits into."""
    if radius_mm <= 0:
        return
    from scipy import ndimage

    foreground = mask_of(labels, classes.organ, classes)
    eroded = ndimage.distance_transform_edt(foreground, sampling=spacing_mm) > radius_mm
    opened = ndimage.distance_transform_edt(~eroded, sampling=spacing_mm) <= radius_mm if eroded.any() else eroded
    labels[foreground & ~opened] = BACKGROUND


def _reassign_small(labels: Labels, which: int, threshold_ml: float, spacing_mm: Spacing, classes: LabelSet) -> None:
    """Give each component of class `which` below (background: up to) the threshold to the class touching it most.

    `labels` has a rim without that class; of background, one that stays.
    """
    components, sizes = components_of(labels == which, connectivity=6 if which == BACKGROUND else 26)
    volumes = sizes * volume_ml(1, spacing_mm)
    small = volumes <= threshold_ml if which == BACKGROUND else volumes < threshold_ml
    small[0] = False  # number 0 is everything outside the components
    small[components[0, 0, 0]] = False  # the rim: background that is not enclosed
    if not small.any():
        return
    touching = _touching_mm2(components, labels, (len(sizes), len(classes)), spacing_mm)
    touching[:, which] = -1
    new = touching.argmax(axis=1).astype(np.uint8)
    mask = small[components]
    labels[mask] = new[components[mask]]


def _swallow(
    labels: Labels, of: tuple[int, ...], by: tuple[int, ...], share: float, spacing_mm: Spacing, classes: LabelSet
) -> None:
    """Give a component of a class in `of` to `by` where at least `share` of its surface faces that; share 0: never.

    On the labels of 60 KiTS23 cases no true cyst faces tumor over more than 0.29 of its surface, and no true tumor
    faces cyst over 0.05, so that a share above 0.3 leaves the truth as it is.
    """
    if share <= 0 or not by:
        return
    for which in of:
        around = _padded_box(labels == which)
        if around is None:
            continue
        part = labels[around]
        components, sizes = components_of(part == which, connectivity=26)
        touching = _touching_mm2(components, part, (len(sizes), len(classes)), spacing_mm)
        swallowed = touching[:, by[0]] >= share * touching.sum(axis=1)
        swallowed[0] = False
        mask = swallowed[components]
        part[mask] = by[0]


def _drop_foreground(labels: Labels, refinement: Refinement, spacing_mm: Spacing, classes: LabelSet) -> None:
    """Clear foreground components below the threshold; of the others those without a kidney, where any has one."""
    components, sizes = components_of(mask_of(labels, classes.organ, classes), connectivity=26)
    dropped = sizes * volume_ml(1, spacing_mm) < refinement.foreground_min_ml
    dropped[0] = False
    if refinement.tumor_needs_kidney:
        has_kidney = _voxels(components, len(sizes), mask_of(labels, classes.kidney, classes)) > 0
        if (has_kidney & ~dropped).any():
            dropped[1:] |= ~has_kidney[1:]
    if dropped.any():
        labels[dropped[components]] = BACKGROUND


def components_of(mask: Mask, connectivity: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Component numbers by voxel (0 outside) and voxels by number."""
    import cc3d

    components, count = cast(
        "tuple[npt.NDArray[np.uint32], int]",
        cc3d.connected_components(mask, connectivity=connectivity, out_dtype=np.uint32, return_N=True),
    )
    return components, _voxels(components, count + 1)


def _voxels(components: npt.NDArray[np.uint32], count: int, among: Mask | None = None) -> npt.NDArray[np.int64]:
    """Voxels by number, of all or of those `among`; part by part, for `bincount` makes eight bytes of each voxel."""
    slowest = int(np.argmax(components.strides))
    numbers = np.moveaxis(components, slowest, 0)
    wanted = None if among is None else np.moveaxis(among, slowest, 0)
    step = max(1, _COUNTED_AT_ONCE // max(1, numbers[0].size))
    voxels = np.zeros(count, np.int64)
    for start in range(0, len(numbers), step):
        part = numbers[start : start + step]
        chosen = part.ravel(order="K") if wanted is None else part[wanted[start : start + step]]
        voxels += np.bincount(chosen, minlength=count)
    return voxels


def _touching_mm2(
    components: npt.NDArray[np.uint32], labels: Labels, shape: tuple[int, int], spacing_mm: Spacing
) -> npt.NDArray[np.float64]:
    """Surface in mm^2 over which each component touches each class, `shape` components x classes."""
    touching = np.zeros(math.prod(shape))
    for axis in range(3):
        face_mm2 = np.prod([s for a, s in enumerate(spacing_mm) if a != axis])
        front, back = (_without_end(axis, first) for first in (False, True))
        for here, there in ((front, back), (back, front)):
            inside, beyond = components[here], labels[there]
            facing = (inside > 0) & (components[there] != inside)
            pairs = inside[facing].astype(np.int64) * shape[1] + beyond[facing]
            touching += face_mm2 * np.bincount(pairs, minlength=len(touching))
    return touching.reshape(shape)


def _without_end(axis: int, first: bool) -> tuple[slice, ...]:
    """All of an array but its first or its last plane along an axis."""
    return tuple((slice(1, None) if first else slice(None, -1)) if a == axis else slice(None) for a in range(3))


def _padded_box(labels: Labels | Mask) -> tuple[slice, slice, slice] | None:
    """The box of what is not background, a voxel wider on each side that the volume has; None where there is none."""
    box = []
    for axis, n in enumerate(labels.shape):
        hit = np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        box.append(slice(max(0, int(hit[0]) - 1), min(n, int(hit[-1]) + 2)))
    z, y, x = box
    return z, y, x
