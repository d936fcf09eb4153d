"""A preset with each volume held out in turn: `python benchmarks/leave_one_out.py DATA OUT [--cases A,B] [-- options]`.

For each of the cases (default: all that the preset does not omit) a training of its own, `kits-submit train` into
OUT/<case> with the options, on all the others and on what is drawn from them; then the last state on the held-out
volume, on its copies with implanted tumors, and on the omitted cases, each on its own grid after postprocessing. A
training that is there is gone on with. Prints a table and writes OUT/leave_one_out.json:

    kidney        Dice of kidney and tumor together on the volume as it is (KiTS19's tk), and of label 1 alone
    volume        predicted over true volume of the two together, minus 1
    stray_ml      predicted voxels of either farther than 30 mm from any true kidney
    tumor_ml      predicted tumor: false, where the volume has none
    last          Dice of label 1 in the last validations, oldest first: how steady it is (unrefined, the Recipe's grid)
    tumor         mean tumor Dice over the copies, and over those with at least 20 mL of tumor
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from evaluation.case import score_masks
from kits_submit.files.cases import Case, find_cases
from kits_submit.inference.postprocess import refine
from kits_submit.labels import TUMOR, volume_ml
from kits_submit.recipe import Recipe
from kits_submit.types import Labels, Spacing
from train import BEST, best_of
from train.data.cohort import IMPLANTS
from train.fit.checkpoint import Checkpoint, load_checkpoint
from train.fit.validate import predict_case
from train.network.deeplab import DeepLab3D
from train.presets import preset
from train.records.reports import CaseScore

STRAY_MM = 30.0
LARGE_ML = 20.0
_LAST = 6


@dataclass(frozen=True)
class Found:
    """One volume by one training's last state; `held_out`: False for one that is omitted from all of them."""

    run: str
    case: str
    held_out: bool
    kidney: float
    kidney_alone: float
    volume: float
    stray_ml: float
    tumor_ml: float
    last: list[float]
    tumor: float | None
    tumor_large: float | None
    large: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="shipped")
    parser.add_argument("--cases")
    parser.add_argument("--tumor-shift", type=float, default=0.0, help="as of `kits-submit export`")
    own = sys.argv[1:]
    cut = own.index("--") if "--" in own else len(own)
    given = parser.parse_args(own[:cut])
    omitted = [case for case in find_cases(given.data) if case.case_id in preset(given.preset).omit_cases]
    others = [case for case in find_cases(given.data) if case not in omitted]
    wanted = given.cases.split(",") if given.cases else [case.case_id for case in others]
    found = []
    for case in others:
        if case.case_id in wanted:
            run = given.out / case.case_id
            _train(given.data, run, given.preset, case.case_id, own[cut + 1 :])
            state = load_checkpoint(best_of(run) or run / BEST).leaning(given.tumor_shift)
            copies, last = _copies(run, case), _validations(run, case.case_id)[-_LAST:]
            found.append(examined(run.name, state, case, copies, last))
            found += [examined(run.name, state, one) for one in omitted]
            report(found, given.out)


def _train(data: Path, run: Path, name: str, case_id: str, options: Sequence[str]) -> None:
    resume = ["--resume"] if best_of(run) is not None else ["--preset", name, "--holdout-cases", case_id, *options]
    command = [sys.executable, "-m", "kits_submit", "train", "--data", str(data), "--out", str(run), *resume]
    subprocess.run(command, check=True)


def examined(
    run: str, state: Checkpoint, case: Case, copies: Sequence[Case] | None = None, last: Sequence[float] = ()
) -> Found:
    """A volume by a run's last state; `copies`: of one that is held out, `last`: its validations."""
    network = state.network()
    predicted, truth, spacing_mm = _refined(network, state.recipe, case)
    tumors = [_tumor(network, state.recipe, copy) for copy in copies or ()]
    large = [dice for dice, ml in tumors if ml >= LARGE_ML]
    return Found(
        run=run,
        case=case.case_id,
        held_out=copies is not None,
        kidney=score_masks(predicted, truth, spacing_mm, "kits19")["tk_dice"],
        kidney_alone=CaseScore.of(case.case_id, predicted, truth, spacing_mm).kidney_dice,
        volume=float(np.count_nonzero(predicted) / np.count_nonzero(truth) - 1),
        stray_ml=stray_ml(predicted, truth, spacing_mm),
        tumor_ml=volume_ml(int(np.count_nonzero(predicted == TUMOR)), spacing_mm),
        last=list(last),
        tumor=float(np.mean([dice for dice, _ in tumors])) if tumors else None,
        tumor_large=float(np.mean(large)) if large else None,
        large=len(large),
    )


def _copies(run: Path, case: Case) -> list[Case]:
    folder = run / IMPLANTS / case.case_id
    return find_cases(folder) if folder.is_dir() else []


def _tumor(network: DeepLab3D, recipe: Recipe, copy: Case) -> tuple[float, float]:
    """Tumor Dice of an implanted copy, and its tumor's mL."""
    predicted, truth, spacing_mm = _refined(network, recipe, copy)
    score = CaseScore.of(copy.case_id, predicted, truth, spacing_mm)
    return score.tumor_dice, volume_ml(int(np.count_nonzero(truth == TUMOR)), spacing_mm)


def _refined(network: DeepLab3D, recipe: Recipe, case: Case) -> tuple[Labels, Labels, Spacing]:
    predicted, truth, spacing_mm = predict_case(network, case, recipe)
    return refine(predicted, spacing_mm, recipe.refinement, recipe.labels), truth, spacing_mm


def stray_ml(predicted: Labels, truth: Labels, spacing_mm: Spacing) -> float:
    """mL of predicted kidney or tumor that lie farther than `STRAY_MM` from any true one."""
    away = ndimage.distance_transform_edt(truth == 0, sampling=spacing_mm) > STRAY_MM
    return volume_ml(int(np.count_nonzero((predicted > 0) & away)), spacing_mm)


def _validations(run: Path, case_id: str) -> list[float]:
    with (run / "validation.csv").open() as file:
        return [round(float(row["kidney_dice"]), 3) for row in csv.DictReader(file) if row["case_id"] == case_id]


def report(found: Sequence[Found], out: Path) -> None:
    """Print the table so far, and write it."""
    rows: list[dict[str, Any]] = [asdict(one) for one in found]
    (out / "leave_one_out.json").write_text(json.dumps(rows, indent=1))
    titles = ("held out", "volume", "kidney Dice; label 1 alone", "volume error", "stray mL", "called tumor mL")
    print("| " + " | ".join((*titles, "last validations", "tumor Dice, all; >= 20 mL")) + " |")
    print("|---" * (len(titles) + 2) + "|")
    for one in found:
        tumor = "" if one.tumor is None else f"{one.tumor:.3f}"
        tumor += "" if one.tumor_large is None else f"; {one.tumor_large:.3f} ({one.large})"
        last = " ".join(f"{dice:.3f}" for dice in one.last)
        kidney = f"{one.kidney:.3f}; {one.kidney_alone:.3f}"
        print(
            f"| {one.run} | {one.case} | {kidney} | {one.volume:+.1%} | {one.stray_ml:.1f} | {one.tumor_ml:.0f} | "
            f"{last} | {tumor} |"
        )
    held_out = [one for one in found if one.held_out]
    kidney, alone = (np.mean([getattr(one, name) for one in held_out]) for name in ("kidney", "kidney_alone"))
    large = [one.tumor_large for one in held_out if one.tumor_large is not None]
    tumors = f", tumors of at least 20 mL {np.mean(large):.3f}" if large else ""
    print(f"mean of those held out: kidney Dice {kidney:.3f}; {alone:.3f}{tumors}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
