"""Several annotators: majority by hand, agreement by hand, and the official scores of KiTS23's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from evaluation.cli import main
from evaluation.raters import compare_raters, lines, majority
from kits_submit.errors import InputError, LabelError
from tests.conftest import present, save


def row(*labels: int) -> np.ndarray:
    return np.array(labels, np.uint8).reshape(1, 1, -1)


def test_the_majority_by_hand() -> None:
    """Two of three say tumor: tumor. Tumor, cyst and kidney: a mass, but no tumor, so cyst. One of three: nothing."""
    one, two, three = row(2, 2, 1, 3, 2), row(2, 3, 1, 0, 0), row(1, 1, 0, 0, 0)
    assert majority([one, two, three]).ravel().tolist() == [2, 3, 1, 0, 0]
    assert majority([row(2, 1), row(0, 1)]).ravel().tolist() == [0, 1]  # half is no majority


def write(folder: Path, case: str, predicted: np.ndarray, raters: list[np.ndarray]) -> tuple[Path, Path]:
    mask = save(folder / "out" / f"prediction_{case[-5:]}.nii.gz", predicted)
    for number, rater in enumerate(raters, 1):
        save(folder / "in" / case / f"rater_{number}.nii.gz", rater)
    return mask, save(folder / "in" / case / "segmentation.nii.gz", raters[0])


def cube(first: int, last: int, label: int = 2) -> np.ndarray:
    voxels = np.zeros((4, 6, 12), np.uint8)
    voxels[1:3, 1:5, first:last] = label
    return voxels


def test_agreement_by_hand(tmp_path: Path) -> None:
    """Raters of 2..8, 2..8 and 4..10 along X, predicted 2..8: Dice 1, 1, 4 / 6; among themselves 1, 4 / 6, 4 / 6."""
    mask, label = write(tmp_path, "case_00021", cube(2, 8), [cube(2, 8), cube(2, 8), cube(4, 10)])
    (found,) = compare_raters([("case_00021", mask, label)])
    dice = [found.against[name]["tumor_dice"] for name in ("rater_1", "rater_2", "rater_3", "majority")]
    assert dice == pytest.approx([1, 1, 2 / 3, 1])
    assert found.among["tumor_dice"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert found.raters["mass_dice"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    names = [name for name, _ in lines([found])]
    assert names[-3:] == ["prediction to raters", "prediction to majority", "raters among themselves"]


def test_the_command_writes_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write(tmp_path, "case_00021", cube(2, 8), [cube(2, 8), cube(4, 10)])
    out = [tmp_path / "a.json", tmp_path / "a.md"]
    arguments = ["raters", tmp_path / "out", tmp_path / "in", "--json", out[0], "--markdown", out[1]]
    monkeypatch.setattr("sys.argv", ["kits-eval", *map(str, arguments)])
    assert main() == 0
    told = json.loads(out[0].read_text())["mean"]
    assert told["raters among themselves"]["tumor_dice"] == pytest.approx(2 / 3)
    assert "| raters among themselves | 0.6667 |" in out[1].read_text()
    assert "raters among" in capsys.readouterr().out


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    mask, label = write(tmp_path, "case_00021", cube(2, 8), [cube(2, 8)])
    with pytest.raises(InputError, match="no case with a prediction has two annotators"):
        list(compare_raters([("case_00021", mask, label)]))
    mask, label = write(tmp_path, "case_00030", cube(2, 8, 4), [cube(2, 8), cube(2, 8)])
    with pytest.raises(LabelError, match="a label is 4, allowed: 0 to 3"):
        list(compare_raters([("case_00030", mask, label)]))


@pytest.mark.parametrize("case", ["case_00021"])
def test_kits23s_raters_score_as_officially(tmp_path: Path, case: str) -> None:
    """KiTS23's own label map as the prediction: the golden file holds each annotator's official scores against it."""
    folder = present("data", "kits_labels", "kits23") / case
    golden = json.loads((present("data", "golden") / "kits23_raters_vs_labels.json").read_text())[case]
    shutil.copytree(folder, tmp_path / case)
    (found,) = compare_raters([(case, folder / "segmentation.nii.gz", tmp_path / case / "segmentation.nii.gz")])
    for rater, targets in golden.items():
        for target, (dice, sd) in targets.items():
            assert found.against[rater][f"{target}_dice"] == pytest.approx(dice, abs=1e-9)
            assert found.against[rater][f"{target}_sd"] == pytest.approx(sd, abs=1e-6)
    assert 0.9 < found.among["tumor_dice"] < 1
    assert nib.load(folder / "rater_1.nii.gz").shape
