"""A CT around given labels: labels untouched, tissue where they say, the same for equal seeds, any grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kits_submit.commands.phantom import Phase
from kits_submit.errors import LabelError
from kits_submit.phantom.around import draw_around, fit
from kits_submit.phantom.body import Body
from kits_submit.phantom.phases import PHASES
from tests.commands.test_run import run
from tests.conftest import present, save

SPACING = (5.0, 3.0, 3.0)
RAS = np.diag([3.0, 3.0, 5.0, 1.0])


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radii: tuple[float, float, float]):
    """Where an ellipsoid lies, centre and radii in mm."""
    points = [np.arange(n) * s for n, s in zip(shape, SPACING, strict=True)]
    z, y, x = np.meshgrid(*points, indexing="ij", sparse=True)
    return sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radii, strict=True)) < 1


def abdomen() -> np.ndarray:
    """Two kidneys of about 180 mL, 140 mm apart, a tumor of 33 mL in one and a cyst of 14 mL in the other."""
    labels = np.zeros((48, 110, 130), np.uint8)
    for x in (125.0, 265.0):
        labels[ball(labels.shape, (120, 200, x), (55, 27, 29))] = 1
    labels[ball(labels.shape, (140, 180, 275), (20, 20, 20))] = 2
    labels[ball(labels.shape, (95, 190, 110), (15, 15, 15))] = 3
    return labels


@pytest.mark.parametrize("phase", PHASES)
def test_tissue_is_where_the_labels_say(phase):
    labels = abdomen()
    hu = draw_around(labels.copy(), SPACING, (1, 2), phase)
    kidney, cyst = (float(np.median(hu[labels == number])) for number in (1, 3))
    low, high = {"unenhanced": (20, 45), "corticomedullary": (80, 240)}.get(phase, (110, 260))
    assert low < kidney < high
    assert -20 < cyst < 35
    assert np.array_equal(hu, np.rint(hu))
    assert hu[:, 0, 0].max() < -800


def test_labels_stay_as_they_are_and_seeds_decide():
    labels = abdomen()
    first, again, other = (draw_around(labels, SPACING, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(labels, abdomen())
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_all_that_is_labelled_lies_in_the_body():
    """A tumor that reaches 190 mm aside makes the body wider; the spine lies between the kidneys, at x = 195 mm."""
    labels = abdomen()
    labels[ball(labels.shape, (120, 150, 330), (60, 60, 55))] = 2
    body = Body.draw(np.random.default_rng(0))
    placed = fit(body, labels, SPACING)
    points = np.argwhere(labels > 0) * SPACING + placed.first_mm
    assert placed.body.outside(points).max() < 3
    assert placed.body.half_width > body.half_width
    assert sorted(side for side, _ in placed.kidneys) == [-1, 1]


def test_a_single_kidney_lies_beside_the_spine():
    labels = np.zeros((48, 110, 130), np.uint8)
    labels[ball(labels.shape, (120, 200, 265), (55, 27, 29))] = 1
    ((side, (_, _, x)),) = fit(Body.draw(np.random.default_rng(0)), labels, SPACING).kidneys
    assert side == 1
    assert 40 < x < 90


@pytest.mark.parametrize(("value", "told"), [(0, "no kidney in it"), (4, "a label is 4, allowed: 0 background, 1 kid")])
def test_labels_that_are_none_are_refused(value, told):
    with pytest.raises(LabelError, match=told):
        draw_around(np.full((8, 16, 16), value, np.uint8), SPACING, (0,))


def test_a_case_comes_on_the_label_map_s_own_grid(tmp_path: Path):
    labels = abdomen()
    stored = labels.transpose(2, 1, 0)[::-1, ::-1, ::-1].astype(np.uint16)  # R, A, S
    written = save(tmp_path / "labels" / "case_00007" / "segmentation.nii.gz", stored, RAS)
    assert run("phantom", tmp_path / "out", "--around", tmp_path / "labels", "--phase", "nephrographic") == 0
    case = tmp_path / "out" / "case_00007"
    assert (case / "segmentation.nii.gz").read_bytes() == written.read_bytes()
    image = nib.load(case / "imaging.nii.gz")
    assert image.shape == stored.shape
    assert image.get_data_dtype() == np.float64
    np.testing.assert_array_equal(image.affine, RAS)
    assert np.median(np.asanyarray(image.dataobj)[stored == 1]) > 110


def test_the_option_names_the_phases_that_are():
    assert tuple(phase.value for phase in Phase) == PHASES


@pytest.mark.parametrize("wrong", [["--phase", "excretory"], ["--around", "x", "--max-slices", "40"]])
def test_options_that_do_not_go_together_are_told(tmp_path, capsys, wrong):
    assert run("phantom", tmp_path / "out", *wrong) == 3
    assert "--around" in capsys.readouterr().err.splitlines()[-1]


def test_around_a_real_label_map(tmp_path):
    from kits_submit.files.volume import read_labels

    read = read_labels(present("data", "kits_labels", "kits19", "case_00024", "segmentation.nii.gz"))
    labels = np.ascontiguousarray(read.voxels[:, ::4, ::4])
    spacing = (read.grid.spacing_mm[0], *(4 * s for s in read.grid.spacing_mm[1:]))
    hu = draw_around(labels, spacing, (0, 24), "nephrographic")
    kidney = labels == 1
    assert np.median(hu[kidney]) > 120
    assert np.median(hu[labels == 2]) < np.median(hu[kidney])
