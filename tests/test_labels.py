"""Label sets: roles, JSON, and a set that is not KiTS19's all the way through the runtime."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from kits_submit.inference.postprocess import refine
from kits_submit.labels import KITS19, KITS23, LabelSet, Role
from kits_submit.recipe import METADATA_KEY, Recipe, Refinement
from kits_submit.report.colours import colours
from kits_submit.report.pictures import place
from tests.commands.test_run import run
from tests.conftest import recipe, save, write_threshold_model

ABDOMEN = LabelSet(
    ("background", "liver", "left kidney", "right kidney", "tumor"),
    (Role.BACKGROUND, Role.OTHER, Role.KIDNEY, Role.KIDNEY, Role.TUMOR),
)
CUBE_MM = (10.0, 10.0, 10.0)  # one voxel is 1 mL


def test_roles_say_what_each_number_is():
    assert (KITS19.kidney, KITS19.mass, KITS19.tumor, KITS19.organ) == ((1,), (2,), (2,), (1, 2))
    assert (KITS23.kidney, KITS23.mass, KITS23.tumor, KITS23.organ) == ((1,), (2, 3), (2,), (1, 2, 3))
    assert (ABDOMEN.kidney, ABDOMEN.mass, ABDOMEN.organ) == ((2, 3), (4,), (2, 3, 4))
    assert str(KITS23) == "0 background, 1 kidney, 2 tumor, 3 cyst"


@pytest.mark.parametrize("labels", [KITS19, KITS23, ABDOMEN])
def test_a_set_comes_back_from_json(labels):
    assert Recipe.from_json(recipe(labels=labels).to_json()).labels == labels


def test_names_that_tell_their_roles_are_written_alone():
    assert json.loads(recipe().to_json())["labels"] == ["background", "kidney", "tumor"]
    assert json.loads(recipe(labels=ABDOMEN).to_json())["labels"][2] == {"name": "left kidney", "role": "kidney"}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("background",), "two to 255 classes"),
        (("kidney", "tumor"), "a background, at 0 alone"),
        (("kidney", "background"), "a background, at 0 alone"),
        (("background", "kidney", "kidney"), "names, each once"),
        (("background", ""), "names, each once"),
        (tuple(f"class {n}" for n in range(300)), "two to 255 classes"),
    ],
)
def test_a_set_that_is_none_is_refused(names, told):
    with pytest.raises(ValueError, match=told):
        LabelSet.of(names)


def test_every_class_has_a_colour_of_its_own():
    for labels in (KITS19, KITS23, ABDOMEN):
        assert len(set(colours(labels).values())) == len(labels) - 1


def test_what_is_no_organ_of_kits_is_left_alone_by_refinement():
    """A liver of 1 mL stays where a kidney of 1 mL goes; a tumor of 1 mL goes to the liver around it."""
    labels = np.zeros((5, 5, 12), np.uint8)
    labels[2, 2, 1] = 1
    labels[2, 2, 3] = 2
    labels[1:4, 1:4, 6:9] = 1
    labels[2, 2, 7] = 4
    wanted = labels.copy()
    wanted[2, 2, 3] = 0
    wanted[2, 2, 7] = 1
    thresholds = Refinement(0, kidney_min_ml=1.5, tumor_min_ml=1.5, foreground_min_ml=0, hole_max_ml=0)
    assert np.array_equal(refine(labels, CUBE_MM, thresholds, ABDOMEN), wanted)


def test_a_cyst_without_a_kidney_goes_as_a_tumor_does():
    """Kidney and cyst of 2 mL each touch; a cyst alone, 4 voxels away, touches none."""
    labels = np.zeros((3, 3, 12), np.uint8)
    labels[1, 1, 1:3], labels[1, 1, 3:5], labels[1, 1, 9:11] = 1, 3, 3
    wanted = labels.copy()
    wanted[1, 1, 9:11] = 0
    assert np.array_equal(refine(labels, CUBE_MM, Refinement(0, 0, 0, 0, 0), KITS23), wanted)


def test_a_picture_is_cut_at_the_cyst_where_there_is_no_tumor():
    labels = np.zeros((8, 9, 10), np.uint8)
    labels[1:4, 1:4, 1:4] = 1
    labels[6, 7, 8] = 3
    assert place(labels, KITS23) == (6, 7, 8)


def test_a_model_of_three_classes_runs_from_file_to_table(tmp_path, capsys):
    """Logits 0, v - 1, 2v - 3, 3v - 6 of v = HU / 100: kidney above 100 HU, tumor above 200, cyst above 300."""
    untouched = Refinement(0, 0, 0, 0, 0, tumor_needs_kidney=False, cyst_min_ml=0)
    metadata = {METADATA_KEY: recipe(labels=KITS23, refinement=untouched).to_json()}
    model = write_threshold_model(tmp_path / "m.onnx", metadata, weights=[0, 1, 2, 3], biases=[0, -1, -3, -6])
    hu = np.full((8, 20, 20), -50.0)
    hu[2:6, 4:16, 4:16], hu[3:5, 6:9, 6:9], hu[3:5, 10:14, 10:14] = 150, 250, 350
    save(tmp_path / "in" / "case_00000.nii.gz", hu)
    assert run("run", tmp_path / "in", tmp_path / "out", "--model", model, "--device", "cpu", "--pictures") == 0
    mask = np.asanyarray(nib.load(tmp_path / "out" / "prediction_00000.nii.gz").dataobj)
    assert np.array_equal(mask, np.digitize(hu, [100, 200, 300]))
    (case,) = json.loads((tmp_path / "out" / "run.json").read_text())["cases"]
    voxel_ml = 3.0 * 0.8 * 0.8 / 1000
    assert case["volume_ml"] == pytest.approx({"kidney": 526 * voxel_ml, "tumor": 18 * voxel_ml, "cyst": 32 * voxel_ml})
    assert (tmp_path / "out" / "case_00000.png").is_file()
    assert "cyst mL" in capsys.readouterr().out
