"""Phantoms with labelled cysts: where two classes are, and cysts as KiTS23's."""

from __future__ import annotations

import hashlib

import cc3d
import numpy as np
import pytest

from kits_submit.errors import InputError
from kits_submit.labels import KITS19, KITS23, LabelSet
from kits_submit.phantom import draw_phantom
from kits_submit.phantom.cystic import draw_radius_mm, draw_septa
from kits_submit.phantom.draw import draw_patient
from tests.conftest import present

COARSE = (6.0, 4.0, 4.0)


def test_two_classes_are_bit_for_bit_what_they_were() -> None:
    """sha256 of image and labels as drawn before phantoms could label cysts."""
    phantom = draw_phantom(11, 1, spacing_mm=(8.0, 4.0, 4.0))
    digest = hashlib.sha256(phantom.image.tobytes() + phantom.labels.tobytes()).hexdigest()
    assert digest[:16] == "4900a6d3d2813506"
    assert phantom.labels.max() == 2


def test_a_cyst_is_a_class_of_its_own_and_all_else_is_the_patient_of_two_classes() -> None:
    two, three = draw_patient(3, 4, KITS19), draw_patient(3, 4, KITS23)
    assert (two.body, two.tumors, two.tissues) == (three.body, three.tumors, three.tissues)
    assert [kidney.radii for kidney in two.kidneys] == [kidney.radii for kidney in three.kidneys]


def test_cysts_are_labelled_dark_and_on_a_kidney() -> None:
    seen = 0
    for index in range(5):
        phantom = draw_phantom(21, index, spacing_mm=COARSE, labels=KITS23)
        pieces = cc3d.connected_components(phantom.labels == 3, connectivity=26)
        for piece in range(1, int(pieces.max()) + 1):
            mask = pieces == piece
            if mask.sum() < 20:
                continue
            seen += 1
            assert -20 < np.median(phantom.image[mask]) < 60
    assert seen >= 2


def test_sizes_are_those_measured_on_kits23() -> None:
    """The labels' 43 cysts: radius 2.5, 4.9, 6.7, 10.0, 26.2 mm (min, quartiles, max)."""
    rng = np.random.default_rng(0)
    radii = np.array([draw_radius_mm(rng) for _ in range(4000)])
    assert np.percentile(radii, [25, 50, 75]) == pytest.approx([4.87, 6.9, 10.4], rel=0.06)
    assert radii.min() >= 2.5
    assert radii.max() <= 26
    septate = [bool(draw_septa(rng, 15.0)) for _ in range(2000)]
    assert np.mean(septate) == pytest.approx(0.3, abs=0.04)
    assert not draw_septa(rng, 5.0)


def test_other_numbers_are_refused() -> None:
    swapped = LabelSet.of(("background", "tumor", "kidney"))
    with pytest.raises(InputError, match="phantoms are labelled 1 kidney, 2 tumor and 3 cyst"):
        draw_phantom(1, 0, spacing_mm=COARSE, labels=swapped)


def test_kits23s_labels_have_the_cysts_that_are_drawn() -> None:
    """Of one case: its cyst touches its kidney, as every one of the 43 does."""
    import nibabel as nib

    path = present("data", "kits_labels", "kits23") / "case_00000" / "segmentation.nii.gz"
    labels = np.asanyarray(nib.load(path).dataobj)
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
