"""A prediction against each annotator of a case, against their majority, and the annotators against each other.

KiTS21 and KiTS23 have several annotators for some cases: `case_00021/rater_1.nii.gz`, `rater_2`, `rater_3` beside its
`segmentation.nii.gz`. What they agree in among themselves is the line to beat: above it, a prediction is as close to an
annotator as another annotator is. Measures are KiTS23's (`evaluation.kits`).

The majority is taken region by region, from the outer to the inner one: a voxel is kidney and mass where more than half
of the annotators have any label there, mass where more than half have tumor or cyst, tumor where more than half have
tumor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.case import score_masks
from evaluation.kits import CYST, KIDNEY, KITS23, PROTOCOLS, TUMOR
from evaluation.masks.geometry import check_same_grid
from kits_submit.errors import InputError, LabelError
from kits_submit.files.volume import read_grid, read_labels
from kits_submit.types import Labels, Mask

if TYPE_CHECKING:
    from rich.table import Table

    from evaluation.masks.matching import Pair

PROTOCOL = "kits23"
KEYS = PROTOCOLS[PROTOCOL].keys
MAJORITY = "majority"
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Agreement:
    """One case, by KiTS23's keys.

    - `against`: the prediction's scores by annotator, and by `majority`.
    - `among`: the mean over all pairs of annotators; Dice and surface Dice do not ask which of two is the truth.
    """

    case: str
    against: Mapping[str, Scores]
    among: Scores

    @property
    def raters(self) -> Scores:
        """The mean over the annotators of the prediction's scores."""
        return mean([scores for name, scores in self.against.items() if name != MAJORITY])


def rater_files(label: Path) -> dict[str, Path]:
    """The annotators' files beside a case's label map, by name, in order."""
    return {path.name.removesuffix(".nii.gz"): path for path in sorted(label.parent.glob("rater_*.nii.gz"))}


def compare_raters(pairs: Sequence[Pair]) -> Iterator[Agreement]:
    """Each case that has at least two annotators and a prediction.

    Raises:
        InputError: no case has.
        VolumeError, GeometryError, LabelError: a file that cannot be read, or lies on another grid.
    """
    found = False
    for case, prediction, label in pairs:
        if isinstance(prediction, Path) and isinstance(label, Path) and len(rater_files(label)) > 1:
            found = True
            yield _agreement(case, prediction, rater_files(label))
    if not found:
        what = "no case with a prediction has two annotators"
        raise InputError(what, fix="give LABELS whose case folders hold rater_1.nii.gz and rater_2.nii.gz")


def _agreement(case: str, prediction: Path, files: Mapping[str, Path]) -> Agreement:
    grid = read_grid(prediction)
    for path in files.values():
        check_same_grid(read_grid(path), grid, path, named="the prediction", fix="predict the annotators' own image")
    predicted = _read(prediction)
    raters = {name: _read(path) for name, path in files.items()}
    truths = {**raters, MAJORITY: majority(list(raters.values()))}
    spacing = read_grid(next(iter(files.values()))).spacing_mm
    pairs = [score_masks(a, b, spacing, PROTOCOL) for a, b in combinations(raters.values(), 2)]
    against = {name: score_masks(predicted, truth, spacing, PROTOCOL) for name, truth in truths.items()}
    return Agreement(case, against, mean(pairs))


def majority(raters: Sequence[Labels]) -> Labels:
    """What more than half of them say, region by region; an inner region only where the outer one is."""
    made = np.zeros(raters[0].shape, np.uint8)
    inside: Mask = np.ones(made.shape, np.bool_)
    for target, label in zip(KITS23, (KIDNEY, CYST, TUMOR), strict=True):
        votes = np.zeros(made.shape, np.uint8)
        for rater in raters:
            votes += np.isin(rater, list(target.labels))
        inside = inside & (2 * votes > len(raters))
        made[inside] = label
    return made


def mean(scores: Sequence[Scores]) -> Scores:
    """Of each key."""
    return {key: float(np.mean([one[key] for one in scores])) for key in KEYS}


def document(found: Sequence[Agreement]) -> dict[str, Any]:
    """As JSON has it."""
    cases = [{"case": one.case, "against": one.against, "raters": one.raters, "among": one.among} for one in found]
    return {"protocol": PROTOCOL, "cases": cases, "mean": dict(lines(found)[-3:])}


def lines(found: Sequence[Agreement]) -> list[tuple[str, Scores]]:
    """A line a case and what it is held against; the last three are means over the cases."""
    told: list[tuple[str, Scores]] = []
    for one in found:
        told += [(f"{one.case} {name}", scores) for name, scores in one.against.items()]
        told.append((f"{one.case} raters among themselves", one.among))
    told.append(("prediction to raters", mean([one.raters for one in found])))
    told.append(("prediction to majority", mean([one.against[MAJORITY] for one in found])))
    told.append(("raters among themselves", mean([one.among for one in found])))
    return told


def render(found: Sequence[Agreement]) -> Table:
    """The lines as a table; the last is the one to beat."""
    from rich.table import Table

    table = Table(title=f"{len(found)} cases with several annotators", title_justify="left")
    table.add_column("")
    for key in KEYS:
        table.add_column(key.replace("_", " "), justify="right")
    for name, scores in lines(found):
        table.add_row(name, *(f"{scores[key]:.4f}" for key in KEYS))
    return table


def markdown(found: Sequence[Agreement]) -> str:
    """The same to paste."""
    rows = [("", *KEYS), ("---", *("---:" for _ in KEYS))]
    rows += [(name, *(f"{scores[key]:.4f}" for key in KEYS)) for name, scores in lines(found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _read(path: Path) -> Labels:
    labels: Labels = read_labels(path).voxels
    highest = int(labels.max())
    if highest not in PROTOCOLS[PROTOCOL].prediction_labels:
        raise LabelError(f"a label is {highest}, allowed: 0 to {CYST}", fix="map it first", path=path)
    return labels
