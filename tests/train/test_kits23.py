"""Three classes through training: reading, sampling, implants, whole runs to masks, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from evaluation.case import score_masks
from export.onnx import to_onnx
from kits_submit.errors import InputError, LabelError
from kits_submit.files.cases import find_cases
from kits_submit.files.volume import read_grid, read_labels, write_labels
from kits_submit.inference.grid import resample_nearest
from kits_submit.labels import KITS19, KITS23
from kits_submit.regions import Regions
from tests.commands.test_run import run
from tests.conftest import present
from tests.train.data.test_data import phantom, write_case
from tests.train.data.test_sampler import SHAPE
from tests.train.synthesis.test_implant import SPACING, scan
from tests.train.training import SMALL, Heard, train
from train.config import TrainConfig
from train.data.cache import CachedCase
from train.data.cache import write_case as write_cached
from train.data.sampler import draw_centre
from train.fit.checkpoint import load_checkpoint
from train.pairs import read_pair
from train.presets import preset
from train.records.reports import CaseScore, Kits23Score, measures_of
from train.synthesis.implant import implant
from train.synthesis.scene import Scene

THREE = replace(SMALL, labels="kits23")


def cystic(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image, label = phantom(seed)
    label[2:4, 8:10, 9:12] = 3
    image[label == 3] = 10
    return image, label


def write_cystic(data: Path, count: int = 4) -> Path:
    for i in range(count):
        write_case(data / f"case_{i:05d}", *cystic(i))
    return data


def test_centres_are_even_over_all_classes_that_a_case_has(tmp_path: Path) -> None:
    """3000 draws over 4 classes: 750 +- 24 each; a case without cyst draws from the other three, 1000 +- 26."""
    label = np.zeros(SHAPE, np.uint8)
    label.reshape(-1)[100:150], label.reshape(-1)[300:305], label.reshape(-1)[400:402] = 1, 2, 3
    for name, map_, wanted in (("a", label, 750), ("b", np.where(label == 3, 0, label), 1000)):
        write_cached(tmp_path / name, np.zeros(SHAPE, np.float16), map_.astype(np.uint8), 4)
        case, rng = CachedCase(name, tmp_path / name, 4), np.random.default_rng(0)
        drawn = np.bincount([case.label[draw_centre(case, rng)] for _ in range(3000)])
        assert abs(drawn - wanted).max() < 130
        assert len(drawn) == len(np.unique(map_))


def test_a_cyst_is_refused_by_two_classes_and_folded_on_request(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case_00000", *cystic(0))
    with pytest.raises(LabelError, match=r"a label is 3, allowed: 0 to 2; train with --labels kits23 .* with --cysts"):
        read_pair(case, KITS19)
    _, folded, _ = read_pair(case, KITS19, cysts_as_kidney=True)
    _, kept, _ = read_pair(case, KITS23)
    assert np.array_equal(folded, np.where(kept == 3, 1, kept))
    assert folded.dtype == np.uint8


def test_a_kits23_data_set_trains_as_kits19_and_says_so(tmp_path: Path) -> None:
    data, heard = write_cystic(tmp_path / "data"), Heard()
    result = train(data, tmp_path / "run", replace(SMALL, cysts_as_kidney=True), heard)
    assert any("label 3 of the data, a cyst, counts as kidney" in line for line in heard.lines)
    assert isinstance(result.scores[0][1], CaseScore)
    with pytest.raises(LabelError, match="a label is 3"):
        train(data, tmp_path / "other", SMALL)


@pytest.mark.parametrize("answer", ["softmax", "regions"])
def test_a_whole_run_from_labels_to_masks(tmp_path: Path, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    heard = Heard()
    config = replace(THREE, answer=answer, tumor_shift=0.5, implants=0)
    result = train(write_cystic(tmp_path / "data"), tmp_path / "run", config, heard)
    assert isinstance(heard.scores[0], Kits23Score)
    head = "case_id,kidney_and_mass_dice,mass_dice,tumor_dice,kidney_and_mass_sd,mass_sd,tumor_sd"
    assert (tmp_path / "run" / "validation.csv").read_text().startswith(f"step,epoch,{head}\n")
    assert (tmp_path / "run" / "scores.csv").read_text().startswith(f"masks,{head}\n")
    trained = load_checkpoint(result.best)
    assert trained.recipe.labels == KITS23
    assert trained.recipe.regions == (Regions.of(KITS23) if answer == "regions" else None)
    assert trained.network().architecture.classes == trained.recipe.outputs == (3 if answer == "regions" else 4)
    if answer == "softmax":  # its masks: tests/test_labels.py
        return
    model = tmp_path / "m.onnx"
    model.write_bytes(to_onnx(trained.leaning(1.0)).SerializeToString())
    out = tmp_path / "out"
    arguments = ("--model", model, "--device", "cpu")
    assert run("run", tmp_path / "data", out, *arguments) == 0
    assert (out / "scores.csv").read_text().startswith("case,kidney_and_mass_dice,")
    capsys.readouterr()
    assert run("run", tmp_path / "data", tmp_path / "x", *arguments, "--protocol", "paper") == LabelError.exit_code
    assert "hold 3 cyst, which protocol paper does not know; score with --protocol kits23" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_best_is_chosen_by_kits23s_measures() -> None:
    truth = np.zeros((6, 12, 12), np.uint8)
    truth[1:5, 2:10, 2:10], truth[2:4, 3:6, 3:6], truth[2:4, 7:9, 7:9] = 1, 2, 3
    predicted = np.where(truth == 3, 2, truth).astype(np.uint8)
    score = measures_of(KITS23).of("a", predicted, truth, (3.0, 1.0, 1.0))
    wanted = score_masks(predicted, truth, (3.0, 1.0, 1.0), "kits23")
    assert score.dice == pytest.approx(np.mean(list(wanted.values())))
    assert (score.kidney_and_mass_dice, score.mass_dice) == (1, 1)
    assert score.tumor_dice == pytest.approx(2 * 18 / (18 + 26))
    assert measures_of(KITS19) is CaseScore


def test_implants_label_their_cysts() -> None:
    scene = Scene.measure(*scan(), SPACING)
    three = [implant(scene, seed, tumor_ml=20.0, classes=KITS23) for seed in range(3)]
    kinds = {lesion.kind for done in three for lesion in done.lesions}
    assert "cyst" in kinds
    for done in three:
        drawn = any(lesion.kind == "cyst" and lesion.volume_ml > 0.1 for lesion in done.lesions)
        assert (done.labels == 3).any() or not drawn
        assert (done.labels == 2).any()
    assert implant(scene, 1, tumor_ml=20.0).labels.max() == 2


def test_swapped_labels_are_told(tmp_path: Path) -> None:
    for i in range(4):
        image, label = phantom(i)
        write_case(tmp_path / "data" / f"case_{i:05d}", image, np.array([0, 2, 1], np.uint8)[label])
    with pytest.raises(LabelError, match="labels 1 and 2 look swapped: 2, tumor, is larger than 1, kidney, in 4 of 4"):
        train(tmp_path / "data", tmp_path / "run", SMALL)


def test_presets_and_options() -> None:
    for name, outputs in (("kits23", 4), ("kits23-regions", 3)):
        config = preset(name)
        assert (config.labels, config.outputs, config.patch) == ("kits23", outputs, preset("paper").patch)
        assert config.second() is not None
    assert TrainConfig(labels="kidney,tumor,cyst,liver").outputs == 5
    with pytest.raises(InputError, match="labels is kidney,kidney, allowed: kits19, kits23"):
        TrainConfig(labels="kidney,kidney")
    with pytest.raises(InputError, match="cysts_as_kidney with labels kits23"):
        TrainConfig(labels="kits23", cysts_as_kidney=True)


@pytest.mark.parametrize("case", ["case_00000", "case_00003", "case_00021"])
def test_kits23s_labels_pass_through_reading_and_back(tmp_path: Path, case: str) -> None:
    """Read as training reads them, resampled to their own grid, written as a mask is: the same voxels."""
    path = present("data", "kits_labels", "kits23") / case / "segmentation.nii.gz"
    labels = read_labels(path)
    same = resample_nearest(labels.voxels, labels.voxels.shape)
    write_labels(tmp_path / "back.nii.gz", same, read_grid(path))
    stored, back = (np.asanyarray(nib.load(file).dataobj) for file in (path, tmp_path / "back.nii.gz"))
    assert np.array_equal(stored, back)
    assert find_cases(path.parent.parent)
