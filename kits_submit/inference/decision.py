"""Scores of a network -> probabilities -> labels: the likeliest class, or regions one after the other. Knows no grid.

Both are read as the voxels come, and neither needs more than the planes at hand. `foreground` is asked of a network's
own scores: linear interpolation stays between its corners, so where all corners are background by it, what lies between
them is background too.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kits_submit.recipe import Recipe
from kits_submit.regions import Regions, logit
from kits_submit.types import Array, Labels, Logits, Mask, Probabilities

Scores = Logits | Probabilities


class Decision(Protocol):
    """How one kind of network is understood; arrays have channels first, and any axes after."""

    @property
    def contradicted(self) -> int:
        """Voxels decided so far that an inner region claimed outside the one that holds it."""

    def probabilities(self, scores: Scores, out: Probabilities | None = None) -> Probabilities:
        """Of logits."""

    def foreground(self, scores: Scores) -> Mask:
        """Where logits may be anything but background."""

    def labels(self, probabilities: Probabilities) -> Labels:
        """Of probabilities, class numbers."""

    def decide(self, scores: Scores) -> Labels:
        """Of logits, class numbers."""


def decision_of(recipe: Recipe) -> Decision:
    """A Recipe's, for one volume."""
    return Likeliest() if recipe.regions is None else Nested(recipe.regions)


class Likeliest:
    """A softmax's highest class, the lower one of equals."""

    @property
    def contradicted(self) -> int:
        """None: a voxel has one class."""
        return 0

    def probabilities(self, scores: Scores, out: Probabilities | None = None) -> Probabilities:
        return softmax(scores, out)

    def foreground(self, scores: Scores) -> Mask:
        found = scores[1] > scores[0]
        for k in range(2, len(scores)):
            found |= scores[k] > scores[0]
        return np.asarray(found)

    def labels(self, probabilities: Probabilities) -> Labels:
        return highest(probabilities)

    def decide(self, scores: Scores) -> Labels:
        return highest(scores)


class Nested:
    """Sigmoids of regions: the label of the last one that a voxel is in (`kits_submit.regions`)."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._thresholds = [part.threshold for part in regions.parts]
        self._logits = [logit(threshold) for threshold in self._thresholds]
        outer = [number for number, parent in enumerate(regions.parents) if parent is None]
        self._outermost = outer if regions.strict else list(range(len(regions)))
        self._contradicted = 0

    @property
    def contradicted(self) -> int:
        """See `Decision`."""
        return self._contradicted

    def probabilities(self, scores: Scores, out: Probabilities | None = None) -> Probabilities:
        return sigmoid(scores, out)

    def foreground(self, scores: Scores) -> Mask:
        found = scores[self._outermost[0]] > self._logits[self._outermost[0]]
        for k in self._outermost[1:]:
            found |= scores[k] > self._logits[k]
        return np.asarray(found)

    def labels(self, probabilities: Probabilities) -> Labels:
        return self._labels(probabilities, self._thresholds)

    def decide(self, scores: Scores) -> Labels:
        return self._labels(scores, self._logits)

    def _labels(self, values: Array, thresholds: list[float]) -> Labels:
        found = np.zeros(values.shape[1:], np.uint8)
        inside: list[Mask] = []
        for value, threshold, part, parent in zip(
            values, thresholds, self._regions.parts, self._regions.parents, strict=True
        ):
            claimed = value > threshold
            if parent is not None:
                held = claimed & inside[parent]
                self._contradicted += int(np.count_nonzero(claimed)) - int(np.count_nonzero(held))
                claimed = held if self._regions.strict else claimed
            inside.append(claimed)
            found[claimed] = part.label
        return found


class OfLogits:
    """A decision about logits that are interpolated as they are (nnU-Net), not as probabilities.

    A score that leads at each corner leads in any convex combination of them, of logits as of probabilities.
    """

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        self.foreground = decision.foreground
        self.decide = decision.decide
        self.labels = decision.decide

    @property
    def contradicted(self) -> int:
        """See `Decision`."""
        return self._decision.contradicted

    def probabilities(self, scores: Scores, out: Probabilities | None = None) -> Probabilities:  # noqa: ARG002
        return scores


class OfProbabilities:
    """A decision about what are probabilities already."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    @property
    def contradicted(self) -> int:
        """See `Decision`."""
        return self._decision.contradicted

    def probabilities(self, scores: Scores, out: Probabilities | None = None) -> Probabilities:  # noqa: ARG002
        return scores

    def foreground(self, scores: Scores) -> Mask:
        return np.asarray(self._decision.labels(scores) != 0)

    def labels(self, probabilities: Probabilities) -> Labels:
        return self._decision.labels(probabilities)

    def decide(self, scores: Scores) -> Labels:
        return self._decision.labels(scores)


def softmax(logits: Logits, out: Probabilities | None = None) -> Probabilities:
    """Over the first axis, in float32, safe for large logits; into `out` where it is given."""
    odds: Probabilities = np.subtract(logits, logits.max(axis=0), out=out)
    np.exp(odds, out=odds)
    odds /= odds.sum(axis=0)
    return odds


def sigmoid(logits: Logits, out: Probabilities | None = None) -> Probabilities:
    """Of each channel alone, in float32, safe for large logits; into `out` where it is given.

    By tanh, which neither overflows nor warns: sigmoid(x) = (1 + tanh(x / 2)) / 2.
    """
    values: Probabilities = np.multiply(logits, np.float32(0.5), out=out)
    np.tanh(values, out=values)
    values += np.float32(1)
    values *= np.float32(0.5)
    return values


def highest(scores: Scores) -> Labels:
    """Index along the first axis of the highest score, the lower one of equals (`argmax`, several times faster)."""
    best = scores[0]
    found = np.zeros(best.shape, np.uint8)
    for k in range(1, len(scores)):
        better = scores[k] > best
        found[better] = k
        best = np.maximum(best, scores[k])
    return found
