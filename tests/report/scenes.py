"""A small run on disk: two cases, one of which has a name that would be code if it were not text."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from kits_submit.labels import KIDNEY, TUMOR
from tests.conftest import kits_affine, save

SHAPE, SPACING = (20, 60, 80), (4.0, 2.0, 2.0)
EVIL = "<script>alert(1)<_script> \"quoted\" 'twice'"


def volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, prediction and label: a kidney with a tumor in each mask, four columns apart."""
    image = np.full(SHAPE, -1000, np.int16)
    image[:, 10:50, 10:70] = 0
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:16, 20:40, 20:32] = KIDNEY
    labels[6:12, 22:32, 22:30] = TUMOR
    return image, labels, np.roll(labels, 4, axis=2)


def write_run(folder: Path, names: tuple[str, ...] = ("case_00000", EVIL)) -> tuple[Path, Path]:
    """(OUTPUT, INPUT) of a run of these cases, with run.json and scores."""
    output, source = folder / "output", folder / "input"
    image, predicted, truth = volumes()
    cases, scores = [], []
    for number, name in enumerate(names):
        mask = f"prediction_{name.removeprefix('case_')}.nii.gz"
        save(output / mask, predicted, kits_affine(SPACING))
        save(source / name / "imaging.nii.gz", image, kits_affine(SPACING))
        save(source / name / "segmentation.nii.gz", truth, kits_affine(SPACING))
        cases.append({"case": name, "status": "done", "prediction": mask, "wall_seconds": 1.5 + number})
        scores.append({"case": name, "kidney_dice": 0.912345678 - 0.1 * number, "tumor_dice": 0.5 + 0.2 * number})
    cases.append({"case": "case_00009", "status": "failed", "error": "the gzip stream ends early", "prediction": None})
    keys = ("kidney_dice", "tumor_dice")
    aggregate = {key: {"mean": 0.7, "ci95": [0.6, 0.8], "n": len(names)} for key in keys}
    (output / "run.json").write_text(json.dumps({"program": "kits-submit 0", "cases": cases}))
    (output / "scores.json").write_text(json.dumps({"policy": "p", "cases": scores, "aggregate": aggregate}))
    with (output / "scores.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ("case", *keys))
        writer.writeheader()
        writer.writerows(scores)
    return output, source
