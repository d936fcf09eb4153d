"""What a training has to tell: of a step, and of a held-out case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TypeVar

import numpy as np

from evaluation.case import score_masks
from kits_submit.labels import LabelSet
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
class Scored:
    """A held-out case's measures by one protocol: the fields after its name."""

    case_id: str

    @classmethod
    def measures(cls) -> tuple[str, ...]:
        """Names of the measures, in order."""
        return tuple(known.name for known in fields(cls) if known.name != "case_id")

    @classmethod
    def shown(cls) -> tuple[str, ...]:
        """Those that curves and lines show: the Dice of each target."""
        return tuple(name for name in cls.measures() if name.endswith("_dice"))

    @property
    def dice(self) -> float:
        """What the best checkpoint and the thresholds are chosen by."""
        raise NotImplementedError


@dataclass(frozen=True)
class CaseScore(Scored):
    """One case by the paper's measures: Dice, recall and precision of label 1 and of label 2 (its Tables 2 to 4)."""

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
        """The mean of both Dice."""
        return (self.kidney_dice + self.tumor_dice) / 2


@dataclass(frozen=True)
class Kits23Score(Scored):
    """One case by KiTS23: Dice and surface Dice (`sd`) of kidney with masses, of masses, of tumors."""

    kidney_and_mass_dice: float
    mass_dice: float
    tumor_dice: float
    kidney_and_mass_sd: float
    mass_sd: float
    tumor_sd: float

    @classmethod
    def of(cls, case_id: str, predicted: Labels, truth: Labels, spacing_mm: Spacing) -> Kits23Score:
        """By `evaluation`'s protocol `kits23`."""
        return cls(case_id, **score_masks(predicted, truth, spacing_mm, "kits23"))

    @property
    def dice(self) -> float:
        """The mean of three Dice and three surface Dice: KiTS23 ranks by the mean of each."""
        return float(np.mean([getattr(self, name) for name in self.measures()]))


MEASURES = CaseScore.measures()


def measures_of(labels: LabelSet) -> type[CaseScore] | type[Kits23Score]:
    """KiTS23's where there are cysts, else the paper's."""
    return Kits23Score if labels.cyst else CaseScore


_Score = TypeVar("_Score", bound=Scored)


def mean_score(scores: Sequence[_Score], name: str = "mean") -> _Score:
    """The mean of each measure over cases."""
    rows = [asdict(score) for score in scores]
    kind = type(scores[0])
    return kind(name, **{measure: float(np.mean([row[measure] for row in rows])) for measure in kind.measures()})
