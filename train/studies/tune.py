"""The postprocessing's thresholds, searched on held-out cases (the paper's Table 4 compares without and with them).

Each case is predicted once; then one threshold at a time takes the value of `CHOICES` (and `OF_CYSTS`) with the highest
mean over the cases, in the order in which the runtime applies them, until a whole round changes nothing. The mean is of
what the best checkpoint is chosen by (`train.records.reports`): the paper's Dice, or KiTS23's measures for sets with
cysts.
A tie keeps the value that stands, so that a threshold which helps nobody is not moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from types import MappingProxyType
from typing import Any

import numpy as np

from kits_submit.inference.postprocess import refine
from kits_submit.labels import LabelSet
from kits_submit.recipe import Refinement
from kits_submit.types import Labels, Spacing
from train.records.reports import Scored, mean_score, measures_of

Choices = Mapping[str, tuple[float | bool, ...]]
CHOICES: Choices = MappingProxyType(
    {
        "opening_mm": (0.0, 1.0, 2.0, 3.0),
        "tumor_min_ml": (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
        "kidney_min_ml": (0.0, 0.5, 1.0, 2.0, 5.0, 10.0),
        "foreground_min_ml": (0.0, 5.0, 10.0, 20.0, 40.0, 60.0),
        "tumor_needs_kidney": (False, True),
        "hole_max_ml": (0.0, 0.5, 1.0, 5.0, 20.0),
    }
)
OF_CYSTS: Choices = MappingProxyType(
    {
        "cyst_min_ml": (0.0, 0.1, 0.25, 0.5, 1.0, 2.0),
        "cyst_in_tumor": (0.0, 0.3, 0.5, 0.7, 0.9),
        "tumor_in_cyst": (0.0, 0.3, 0.5, 0.7, 0.9),
    }
)
_ROUNDS = 3


@dataclass(frozen=True)
class Predicted:
    """One case on its own grid, cut to the box that holds all predicted and all true foreground and a rim."""

    case_id: str
    labels: Labels
    truth: Labels
    spacing_mm: Spacing
    classes: LabelSet

    @classmethod
    def of(cls, case_id: str, labels: Labels, truth: Labels, spacing_mm: Spacing, classes: LabelSet) -> Predicted:
        """The rim is one voxel of background, as a volume's is to `refine`; where foreground meets the volume's end
        there is none, and what the end closes off stays closed off."""
        some = (labels > 0) | (truth > 0)
        box = []
        for axis in range(3):
            hit = np.flatnonzero(some.any(axis=tuple(a for a in range(3) if a != axis)))
            first, last = (int(hit[0]), int(hit[-1])) if hit.size else (0, 0)
            box.append(slice(max(first - 1, 0), last + 2))
        z, y, x = box
        return cls(case_id, labels[z, y, x].copy(), truth[z, y, x].copy(), spacing_mm, classes)

    def score(self, refinement: Refinement | None) -> Scored:
        """Refined, or as it is."""
        labels = self.labels if refinement is None else refine(self.labels, self.spacing_mm, refinement, self.classes)
        return measures_of(self.classes).of(self.case_id, labels, self.truth, self.spacing_mm)


@dataclass(frozen=True)
class Trial:
    """One value tried, and the mean that it gave."""

    threshold: str
    value: float | bool
    dice: float


@dataclass(frozen=True)
class Tuned:
    """The best refinement found, every trial, and the scores without it, with the one that stood, and with the best."""

    refinement: Refinement
    trials: tuple[Trial, ...]
    unrefined: tuple[Scored, ...]
    before: tuple[Scored, ...]
    after: tuple[Scored, ...]


Score = Callable[[Refinement | None], list[Scored]]


def tune(
    cases: Sequence[Predicted],
    start: Refinement,
    *,
    jobs: int = 1,
    on_trial: Callable[[Trial], None] | None = None,
) -> Tuned:
    """Search from `start`; `jobs` processes refine cases side by side."""
    choices: Choices = {**CHOICES, **(OF_CYSTS if any(case.classes.cyst for case in cases) else {})}
    if jobs <= 1:
        return _search(lambda refinement: [case.score(refinement) for case in cases], start, on_trial, choices)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return _search(lambda refinement: list(pool.map(partial(_score, refinement), cases)), start, on_trial, choices)


def _search(score: Score, start: Refinement, on_trial: Callable[[Trial], None] | None, choices: Choices) -> Tuned:
    unrefined, before = score(None), score(start)
    best, best_scores, trials = start, before, []
    for _ in range(_ROUNDS):
        stood = best
        for name, values in choices.items():
            for value in values:
                if value == getattr(best, name):
                    continue
                tried = _with(best, name, value)
                scores = score(tried)
                trials.append(Trial(name, value, mean_score(scores).dice))
                if on_trial is not None:
                    on_trial(trials[-1])
                if trials[-1].dice > mean_score(best_scores).dice:
                    best, best_scores = tried, scores
        if best == stood:
            break
    return Tuned(best, tuple(trials), tuple(unrefined), tuple(before), tuple(best_scores))


def _with(refinement: Refinement, name: str, value: float | bool) -> Refinement:
    change: dict[str, Any] = {name: value}
    return replace(refinement, **change)


def _score(refinement: Refinement | None, case: Predicted) -> Scored:
    return case.score(refinement)
