"""Measures on request (`--also`): IoU, HD100, surface Dice at any tolerance, others' HD95 and ASSD, cysts alone.

iou           |P and T| / |P or T|
hd100         the largest distance from a surfel to the other surface
sd@2.5        surface Dice at a tolerance of 2.5 mm
hd95-monai    of voxels on the border, unweighted: the larger directed 95th percentile (MONAI)
hd95-medpy    the 95th percentile of both directions' distances together (medpy)
assd-medpy    the mean of the two directed mean distances (medpy)
cyst          label 3 alone: Dice, recall, precision, volume error, and what else is asked for
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.kits import CYSTS, Labelset, Target
from evaluation.masks.pair import MaskPair
from evaluation.measures.border import BorderDistances, border_distances
from evaluation.measures.boxes import Bounds
from evaluation.measures.overlap import Confusion
from evaluation.measures.surface import Distances, SurfaceTally
from kits_submit.errors import InputError

_ENDS = {
    "iou": "iou",
    "hd100": "hd100_mm",
    "hd95-monai": "hd95_monai_mm",
    "hd95-medpy": "hd95_medpy_mm",
    "assd-medpy": "assd_medpy_mm",
}
_TOLERANCE = re.compile(r"sd@(\d+(?:\.\d+)?)")
_CYST_MEASURES = ("dice", "recall", "precision", "volume_error_ml")


@dataclass(frozen=True)
class Request:
    """What `--also` names, read.

    - `measures`: by key ending (`iou`, `sd_at_2.5mm`). `cysts`: whether label 3 is measured alone.
    """

    measures: tuple[str, ...] = ()
    cysts: bool = False

    @staticmethod
    def of(names: Sequence[str]) -> Request:
        """Read the names.

        Raises:
            InputError: a name that is none.
        """
        endings = []
        for name in names:
            match = _TOLERANCE.fullmatch(name)
            if match and float(match[1]) > 0:
                endings.append(f"sd_at_{float(match[1]):g}mm")
            elif name in _ENDS:
                endings.append(_ENDS[name])
            elif name != "cyst":
                raise InputError(f"also {name!r}", fix=f"use one of {', '.join(_ENDS)}, sd@MM, cyst")
        return Request(tuple(dict.fromkeys(endings)), "cyst" in names)

    def targets(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """The protocol's, and cysts where asked for."""
        return (*targets, CYSTS) if self.cysts else tuple(targets)

    def keys(self, targets: Sequence[Target]) -> tuple[str, ...]:
        """Beside the protocol's."""
        cysts = tuple(f"{CYSTS.name}_{measure}" for measure in _CYST_MEASURES) if self.cysts else ()
        return cysts + tuple(f"{target.name}_{end}" for end in self.measures for target in self.targets(targets))

    @property
    def surfaces(self) -> bool:
        """Whether distances between surfaces are needed."""
        return any(end == "hd100_mm" or end.startswith("sd_at_") for end in self.measures)


def measure_requested(
    request: Request,
    pair: MaskPair,
    boxes: list[Bounds],
    confusion: Confusion,
    targets: Sequence[Target],
    tallies: Mapping[Labelset, SurfaceTally],
) -> dict[str, float]:
    """The keys of `request`. `tallies`: by labels, made with distances, where it needs surfaces.

    Both masks empty: shares 1, distances 0. One empty: shares 0, distances the image's diagonal.
    """
    scores = _cysts(confusion, pair.voxel_ml) if request.cysts else {}
    for target in request.targets(targets):
        overlap = confusion.overlap(target.labels)
        surfels: Distances | None = None
        voxels: BorderDistances | None = None
        for end in request.measures:
            key = f"{target.name}_{end}"
            if end == "iou":
                scores[key] = overlap.iou
            elif overlap.empty:
                scores[key] = _of_empty(end, overlap.empty, pair.diagonal_mm)
            elif end == "hd100_mm" or end.startswith("sd_at_"):
                surfels = surfels or tallies[target.labels].distances()
                far = end == "hd100_mm"
                scores[key] = surfels.hd100_mm if far else surfels.share_within(_millimetres(end))
            else:
                voxels = voxels or border_distances(pair, boxes, target.labels)
                scores[key] = voxels.by_ending(end)
    return scores


def _cysts(confusion: Confusion, voxel_ml: float) -> dict[str, float]:
    overlap = confusion.overlap(CYSTS.labels)
    error_ml = (overlap.prediction - overlap.truth) * voxel_ml
    values = (overlap.dice, overlap.recall, overlap.precision, error_ml)
    return {f"{CYSTS.name}_{name}": value for name, value in zip(_CYST_MEASURES, values, strict=True)}


def _of_empty(end: str, empty: str, diagonal_mm: float) -> float:
    both = empty == "both"
    if end.endswith("_mm"):
        return 0.0 if both else diagonal_mm
    return float(both)


def _millimetres(end: str) -> float:
    return float(np.float64(end.removeprefix("sd_at_").removesuffix("mm")))
