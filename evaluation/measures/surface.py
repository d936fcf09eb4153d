"""Surface Dice, HD95 and ASSD, exact: only the voxel corners on a surface are looked at, tile by tile.

Definitions are those of google-deepmind/surface-distance, which KiTS21 and KiTS23 use: a surfel sits at a voxel corner,
its distance is that to the nearest surfel of the other mask, and its area weighs it.

Few steps between corners are as short as a tolerance (nine for 1.13 mm at 3 x 0.78 x 0.78 mm), and few are needed from
most surfels to the other surface: each takes them, shortest first, until it is there. Only for HD95 and ASSD are those
that do not get there looked up in a k-d tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.kits import Target
from evaluation.measures.shell import Shell, Steps, Tile, steps_within
from evaluation.measures.surfels import Codes, surfel_areas
from kits_submit.types import Spacing

Floats = npt.NDArray[np.float64]

NEARBY_VOXELS = 60  # steps to take before a k-d tree: the reach is the radius of a ball of so many voxels


@dataclass(frozen=True)
class Distances:
    """Distances in mm of the surfels of the prediction and of the truth, and the area in mm2 at each; none is empty."""

    prediction_mm: Floats
    prediction_mm2: Floats
    truth_mm: Floats
    truth_mm2: Floats

    @property
    def hd95_mm(self) -> float:
        """The larger of the two directed 95th percentiles of distance, weighted by area."""
        return max(
            _percentile(self.prediction_mm, self.prediction_mm2, 0.95),
            _percentile(self.truth_mm, self.truth_mm2, 0.95),
        )

    @property
    def hd100_mm(self) -> float:
        """The largest distance of either direction, the Hausdorff distance."""
        return float(max(self.prediction_mm.max(), self.truth_mm.max()))

    @property
    def assd_mm(self) -> float:
        """Average symmetric surface distance: the mean over both surfaces together, weighted by area.

        surface-distance has the two directed means; this is their mean weighted by each surface's whole area.
        """
        weighted = (self.prediction_mm * self.prediction_mm2).sum() + (self.truth_mm * self.truth_mm2).sum()
        return float(weighted / (self.prediction_mm2.sum() + self.truth_mm2.sum()))

    def share_within(self, tolerance_mm: float) -> float:
        """Share of both surfaces' area that lies within the tolerance of the other."""
        near = self.prediction_mm2[self.prediction_mm <= tolerance_mm].sum()
        near += self.truth_mm2[self.truth_mm <= tolerance_mm].sum()
        return float(near / (self.prediction_mm2.sum() + self.truth_mm2.sum()))


class _Side:
    """The surfels of one mask over the tiles so far.

    - `reached`: how many, by the step that leads to the other surface (the last row: none does) and by code.
    - `corners`: of each surfel; `far`, `far_codes`: of those that no step leads on. Kept where a tree may be needed.
    """

    def __init__(self, steps: Steps, *, keep: bool) -> None:
        self._steps = steps
        self._keep = keep
        self.reached = np.zeros((len(steps) + 1, 256), np.int64)
        self.corners: list[npt.NDArray[np.int32]] = []
        self.far: list[npt.NDArray[np.int32]] = []
        self.far_codes: list[Codes] = []

    def add(self, own: Shell, other: Shell) -> None:
        first = own.first_steps(other, self._steps)
        bins = first * 256 + own.codes
        self.reached += np.bincount(bins, minlength=self.reached.size).reshape(self.reached.shape)
        if self._keep:
            far = first == len(self._steps)
            self.corners.append(own.corners)
            self.far.append(own.corners[far])
            self.far_codes.append(own.codes[far])

    def distances(self, other: _Side, spacing_mm: Spacing, areas_mm2: Floats) -> tuple[Floats, Floats]:
        """Every distance, and the area at it."""
        near = self.reached[:-1] @ areas_mm2
        distances, areas = [self._steps.lengths_mm[near > 0]], [near[near > 0]]
        far = np.concatenate(self.far)
        if len(far):
            mm = np.array(spacing_mm)
            distances.append(_nearest_mm(far * mm, np.concatenate(other.corners) * mm))
            areas.append(areas_mm2[np.concatenate(self.far_codes)])
        return np.concatenate(distances), np.concatenate(areas)


class SurfaceTally:
    """The surfaces of one target, collected tile by tile.

    - `halo`: how many corners around a tile its surfels look at, along each axis.
    """

    def __init__(self, target: Target, spacing_mm: Spacing, *, with_distances: bool) -> None:
        if target.tolerance_mm is None:
            raise ValueError(f"target {target.name} has no tolerance")
        self._labels = target.labels
        self._tolerance_mm = target.tolerance_mm
        self._spacing_mm = spacing_mm
        nearby_mm = float(np.cbrt(NEARBY_VOXELS * np.prod(spacing_mm) * 3 / (4 * np.pi))) if with_distances else 0.0
        steps = steps_within(spacing_mm, max(nearby_mm, target.tolerance_mm))
        self._lengths_mm = steps.lengths_mm
        self._steps_suffice = steps.reach_mm >= target.tolerance_mm
        self._with_distances = with_distances or not self._steps_suffice
        self._prediction, self._truth = (_Side(steps, keep=self._with_distances) for _ in range(2))
        self.halo = steps.halo

    def add(self, tile: Tile) -> None:
        """Count a tile; its halo must be at least this tally's."""
        shells = tile.shells(self._labels)
        if shells is not None:
            self._prediction.add(shells.prediction, shells.truth)
            self._truth.add(shells.truth, shells.prediction)

    @property
    def empty(self) -> str:
        """Which mask has no surface: `both`, `prediction`, `truth`, or none of them (an empty string)."""
        if not self._prediction.reached.any():
            return "prediction" if self._truth.reached.any() else "both"
        return "" if self._truth.reached.any() else "truth"

    def surface_dice(self) -> float:
        """Share of both surfaces' area that lies within the tolerance of the other; both empty 1, one empty 0.

        Worked: two single voxels at 1 mm, three voxels apart: no corner within 1.03 mm of the other, 0; one voxel apart
        and side by side, each has 4 of its 8 corners on the other and the other 4 at 1 mm: 1.
        """
        if self.empty:
            return float(self.empty == "both")
        if not self._steps_suffice:
            return self.distances().share_within(self._tolerance_mm)
        area_mm2 = (self._prediction.reached + self._truth.reached) @ surfel_areas(self._spacing_mm)
        within = area_mm2[:-1][self._lengths_mm <= self._tolerance_mm]
        return float(within.sum() / area_mm2.sum())

    def distances(self) -> Distances:
        """Of every surfel.

        Raises:
            ValueError: a mask is empty, or the tally was made without distances.
        """
        if self.empty or not self._with_distances:
            raise ValueError("distances need two surfaces, collected with `with_distances`")
        areas = surfel_areas(self._spacing_mm)
        return Distances(
            *self._prediction.distances(self._truth, self._spacing_mm, areas),
            *self._truth.distances(self._prediction, self._spacing_mm, areas),
        )


def _nearest_mm(points: Floats, others: Floats) -> Floats:
    """Distance from each point to the nearest of the others."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(others, balanced_tree=False, compact_nodes=False).query(points)[0])


def _percentile(distances_mm: Floats, areas_mm2: Floats, share: float) -> float:
    """The distance that this share of the area is no farther than.

    Worked: areas 1, 1, 2 at 0, 3 and 5 mm have cumulative shares 0.25, 0.5, 1: the 0.95 percentile is 5 mm. A share
    that is met exactly (19 of 20 equal areas) counts as met, however the sum is rounded.
    """
    order = np.argsort(distances_mm, kind="stable")
    cumulative = np.cumsum(areas_mm2[order])
    index = int(np.searchsorted(cumulative, (share - 1e-12) * cumulative[-1]))
    return float(distances_mm[order][min(index, len(order) - 1)])
