"""Phantoms of any hospital: most kidneys without tumor, any phase, and KiTS19's own phantoms as they were."""

from __future__ import annotations

from functools import cache

import numpy as np

from kits_submit.labels import KIDNEY, TUMOR
from kits_submit.phantom import Phantom, draw_phantom

SPACING = (6.0, 4.0, 4.0)


@cache
def drawn() -> list[Phantom]:
    return [draw_phantom(31, index, spacing_mm=SPACING, any_hospital=True) for index in range(24)]


def test_a_seed_decides() -> None:
    again = draw_phantom(31, 3, spacing_mm=SPACING, any_hospital=True)
    np.testing.assert_array_equal(again.image, drawn()[3].image)
    np.testing.assert_array_equal(again.labels, drawn()[3].labels)
    usual = draw_phantom(31, 3, spacing_mm=SPACING)
    assert not np.array_equal(again.image, usual.image)


def test_a_fifth_have_no_tumor_and_all_have_kidneys() -> None:
    with_tumor = np.mean([bool((one.labels == TUMOR).any()) for one in drawn()])
    assert 0.6 < with_tumor < 0.95
    assert all((one.labels == KIDNEY).sum() > 500 for one in drawn())


def test_kidneys_are_of_any_phase() -> None:
    medians = np.array([np.median(one.image[one.labels == KIDNEY]) for one in drawn()])
    unenhanced = np.array([one.phase == "unenhanced" for one in drawn()])
    assert 0.1 < unenhanced.mean() < 0.6
    assert medians[unenhanced].max() < 50
    assert medians[~unenhanced].min() > 45
    assert medians.max() > 150
