"""Fat drawn anew: what is fat is no kidney, tumors and bone stay, and the seed decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from kits_submit.labels import KIDNEY, TUMOR
from tests.conftest import recipe
from train.synthesis import habitus
from train.synthesis.augment import Augmenter
from train.synthesis.habitus import with_fat

SPACING = (4.0, 3.0, 3.0)
MUSCLE, CORTEX, MASS, BONE = 55.0, 180.0, 90.0, 400.0


def patch(*, tumor: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A kidney of some 30 mm radius in muscle, a tumor at its end, a bone beside it."""
    z, y, x = np.meshgrid(*(4.0 * np.arange(24), 3.0 * np.arange(32), 3.0 * np.arange(32)), indexing="ij")
    hu = np.full(z.shape, MUSCLE, np.float32)
    labels = np.zeros(z.shape, np.uint8)
    kidney = (z - 48) ** 2 + (y - 48) ** 2 + (x - 40) ** 2 < 30**2
    hu[kidney], labels[kidney] = CORTEX, KIDNEY
    if tumor:
        mass = (z - 48) ** 2 + (y - 48) ** 2 + (x - 66) ** 2 < 12**2
        hu[mass], labels[mass] = MASS, TUMOR
    hu[:, 28:, :6] = BONE
    return hu, labels


def only(monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    for name in ("PERIRENAL", "SINUS", "SHRUNKEN"):
        monkeypatch.setattr(habitus, name, float(name == kept))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_a_seed_decides_inputs_stay_and_no_kidney_is_fat(seed: int) -> None:
    hu, labels = patch()
    before = hu.copy(), labels.copy()
    (first, classes), (again, _) = (with_fat(hu, labels, SPACING, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(hu, before[0])
    np.testing.assert_array_equal(labels, before[1])
    assert set(np.unique(classes)) <= {0, KIDNEY, TUMOR}
    assert np.all((classes == labels) | ((labels == KIDNEY) & (classes == 0)))
    lost = (labels == KIDNEY) & (classes == 0)
    assert np.all(first[lost] < CORTEX - 0.45 * (CORTEX - habitus.FAT_HU - 40))
    np.testing.assert_array_equal(first[hu == BONE], BONE)
    np.testing.assert_array_equal(classes == TUMOR, labels == TUMOR)


def test_a_sinus_is_what_lies_deepest_and_a_rind_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "SINUS")
    hu, labels = patch(tumor=False)
    _, classes = with_fat(hu, labels, SPACING, np.random.default_rng(3))
    depth = distance_transform_edt(labels == KIDNEY, sampling=SPACING)
    lost = (labels == KIDNEY) & (classes == 0)
    low, high = habitus.RIND_MM
    assert lost.any()
    assert depth[lost].min() > low / (1 + habitus.UNEVEN)
    assert np.all(lost[depth > high / (1 - habitus.UNEVEN)])


def test_a_shrunken_kidney_loses_its_rim(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "SHRUNKEN")
    hu, labels = patch(tumor=False)
    counts = [
        np.count_nonzero(with_fat(hu, labels, SPACING, np.random.default_rng(seed))[1] == KIDNEY) for seed in range(8)
    ]
    whole = np.count_nonzero(labels == KIDNEY)
    assert 0.5 * whole < min(counts) < 0.95 * whole


def test_perirenal_fat_replaces_muscle_about_the_kidney_and_changes_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "PERIRENAL")
    hu, labels = patch()
    changed, classes = with_fat(hu, labels, SPACING, np.random.default_rng(5))
    np.testing.assert_array_equal(classes, labels)
    away_mm = distance_transform_edt(labels == 0, sampling=SPACING)
    fat = (hu == MUSCLE) & (changed < -20)
    assert fat.any()
    assert away_mm[fat].max() < habitus.PERIRENAL_MM[1] * (1 + habitus.UNEVEN) + 8
    assert np.median(changed[labels == KIDNEY]) == pytest.approx(CORTEX, abs=2)


def test_kidney_beside_a_tumor_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "SINUS")
    hu, labels = patch()
    _, classes = with_fat(hu, labels, SPACING, np.random.default_rng(0))
    near = distance_transform_edt(labels != TUMOR, sampling=SPACING) <= habitus.NEAR_TUMOR_MM
    np.testing.assert_array_equal(classes[near], labels[near])
    assert np.any(classes != labels)


def test_a_patch_without_kidney_stays_as_it_is() -> None:
    hu, _ = patch()
    nothing = np.zeros(hu.shape, np.uint8)
    changed, classes = with_fat(hu, nothing, SPACING, np.random.default_rng(0))
    assert changed is hu
    assert classes is nothing


def test_the_augmenter_draws_fat_for_its_share() -> None:
    hu, labels = patch()
    grid = recipe(spacing_mm=SPACING)
    image = ((np.clip(hu, *grid.clip_hu) - grid.mean_hu) / grid.std_hu).astype(np.float32)
    counts = []
    for share in (0.0, 1.0):
        drawn = [
            Augmenter(grid, 0.0, fat=share).patch(image, labels, (12, 16, 16), (24, 32, 32), np.random.default_rng(k))
            for k in range(6)
        ]
        counts.append([np.count_nonzero(classes == KIDNEY) for _, classes in drawn])
    assert np.mean(counts[1]) < 0.97 * np.mean(counts[0])
