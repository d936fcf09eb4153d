"""Dice, recall and precision of any set of labels, from one confusion table a case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.masks.pair import MaskPair
from evaluation.measures.boxes import Bounds, padded

LABELS = 256


@dataclass(frozen=True)
class Overlap:
    """Voxels of one target: in both masks, in the prediction, in the truth."""

    both: int
    prediction: int
    truth: int

    @property
    def empty(self) -> str:
        """Which mask holds nothing: `both`, `prediction`, `truth`, or none of them (an empty string)."""
        if self.prediction == 0:
            return "both" if self.truth == 0 else "prediction"
        return "truth" if self.truth == 0 else ""

    @property
    def dice(self) -> float:
        """2 |P and T| / (|P| + |T|); both empty 1, one empty 0.

        Worked: P of 3 voxels, T of 5, 2 shared: 2 * 2 / 8 = 0.5.
        """
        return 2 * self.both / (self.prediction + self.truth) if self.prediction + self.truth else 1.0

    @property
    def iou(self) -> float:
        """|P and T| / |P or T|; both empty 1, one empty 0. Worked: P of 3 voxels, T of 5, 2 shared: 2 / 6."""
        either = self.prediction + self.truth - self.both
        return self.both / either if either else 1.0

    @property
    def recall(self) -> float:
        """|P and T| / |T|; both empty 1, one empty 0."""
        return self._share(self.truth)

    @property
    def precision(self) -> float:
        """|P and T| / |P|; both empty 1, one empty 0."""
        return self._share(self.prediction)

    def _share(self, whole: int) -> float:
        if self.empty:
            return float(self.empty == "both")
        return self.both / whole


class Confusion:
    """Voxels by true label (rows) and predicted label (columns); background on both is not counted."""

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros((LABELS, LABELS), np.int64)

    def add(self, pair: MaskPair, tile: Bounds) -> None:
        """Count the voxels of a tile (bounds of corners, as `boxes.tiles` gives them)."""
        prediction, truth = padded(pair.prediction, tile), padded(pair.truth, tile)
        columns = int(prediction.max()) + 1
        rows = int(truth.max()) + 1
        joint = truth.astype(np.uint16)
        joint *= np.uint16(columns)
        joint += prediction
        self.counts[:rows, :columns] += np.bincount(joint.ravel(), minlength=rows * columns).reshape(rows, columns)
        self.counts[0, 0] = 0

    def overlap(self, labels: Iterable[int]) -> Overlap:
        """The voxels of a target, background (0) not among its labels."""
        chosen = list(labels)
        return Overlap(
            both=int(self.counts[np.ix_(chosen, chosen)].sum()),
            prediction=int(self.counts[:, chosen].sum()),
            truth=int(self.counts[chosen].sum()),
        )

    def volumes_ml(self, voxel_ml: float, labels: int = 4) -> list[list[float]]:
        """By true label (rows) and predicted label (columns), the first so many."""
        volumes: list[list[float]] = (self.counts[:labels, :labels] * voxel_ml).tolist()
        return volumes

    def values(self, of: str) -> dict[int, int]:
        """Every value but 0 in the `prediction` or the `truth`, with its number of voxels."""
        totals = self.counts.sum(axis=0 if of == "prediction" else 1)
        return {int(value): int(totals[value]) for value in np.flatnonzero(totals) if value}
