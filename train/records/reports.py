"""What a training has to tell: of a step, and of a held-out case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from evaluation.case import score_masks
from kits_submit.types import Labels, Spacing


@dataclass(frozen=True)
class StepReport:
    """One step done, of all workers together.

    - `step` counts from 1, `epoch` from 0; `progress` runs to 1.
    - `seconds`: of the step; `data_s`: the part of it spent waiting for patches.
    - `patches`: in the whole batch; `gpu_mb`: most GPU memory held so far, 0 on a CPU.
    - `epoch_ended`: it was its epoch's last.
    """

    step: int
    epoch: int
    progress: float
    loss: float
    tversky: float
    focal: float
    learning_rate: float
    seconds: float
    data_s: float
    patches: int = 0
    gpu_mb: float = 0.0
    epoch_ended: bool = False


@dataclass(frozen=True)
class CaseScore:
    """One case by the paper's measures: Dice, recall and precision of label 1 and of label 2 (its Tables 2 to 4)."""

    case_id: str
    kidney_dice: float
    tumor_dice: float
    kidney_recall: float
    tumor_recall: float
    kidney_precision: float
    tumor_precision: float

    @classmethod
    def of(cls, case_id: str, predicted: Labels, truth: Labels, spacing_mm: Spacing) -> CaseScore:
        """By `evaluation`'s protocol `paper`."""
        return cls(case_id, **score_masks(predicted, truth, spacing_mm, "paper"))

    @property
    def dice(self) -> float:
        """The mean of both: what the best checkpoint is chosen by."""
        return (self.kidney_dice + self.tumor_dice) / 2


MEASURES = tuple(name for name in CaseScore.__dataclass_fields__ if name != "case_id")


def mean_score(scores: Sequence[CaseScore], name: str = "mean") -> CaseScore:
    """The mean of each measure over cases."""
    rows = [asdict(score) for score in scores]
    return CaseScore(name, **{measure: float(np.mean([row[measure] for row in rows])) for measure in MEASURES})
