"""Contrast drawn anew: kidneys come to the HU asked for, bone and labels stay, the seed decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kits_submit.labels import KIDNEY, TUMOR
from tests.conftest import recipe
from train.synthesis.augment import Augmenter
from train.synthesis.contrast import BONE_HU, REST_FROM_HU, kidney_at, noisy, recontrasted, rest_enhanced

SPACING = (4.0, 3.0, 3.0)
FAT, LIVER, CORTEX, MASS, BONE = -100.0, 110.0, 180.0, 90.0, 400.0


def patch() -> tuple[np.ndarray, np.ndarray]:
    """A kidney with a tumor in fat, liver on one side, a bone in a corner, air above."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (24, 32, 32)), indexing="ij")
    hu = np.full(z.shape, FAT, np.float32)
    labels = np.zeros(z.shape, np.uint8)
    hu[x < 8], hu[(y > 26) & (x > 24)], hu[y < 3] = LIVER, BONE, -1000.0
    for value, label, radius in ((CORTEX, KIDNEY, 8), (MASS, TUMOR, 4)):
        inside = (z - 12) ** 2 + (y - 16) ** 2 + (x - 18) ** 2 < radius**2
        hu[inside], labels[inside] = value, label
    return hu, labels


@pytest.mark.parametrize("target", [30.0, 120.0, 230.0])
def test_kidneys_come_to_the_hu_asked_for_and_a_tumor_keeps_its_ratio(target: float) -> None:
    hu, labels = patch()
    scaled = kidney_at(hu, labels, target)
    assert np.median(scaled[labels == KIDNEY]) == pytest.approx(target)
    assert np.median(scaled[labels == TUMOR]) == pytest.approx(target * MASS / CORTEX)
    np.testing.assert_array_equal(scaled[hu < 0], hu[hu < 0])


@given(factor=st.floats(0, 1.5))
def test_the_rest_is_enhanced_by_a_factor_and_bone_stays(factor: float) -> None:
    hu = np.array([-1000, -100, 0, REST_FROM_HU, 100, 199, BONE_HU, 400], np.float32)
    scaled = rest_enhanced(hu, factor)
    np.testing.assert_array_equal(scaled[:4], hu[:4])
    np.testing.assert_array_equal(scaled[-2:], hu[-2:])
    expected = REST_FROM_HU + factor * (hu[4:6] - REST_FROM_HU)
    np.testing.assert_allclose(scaled[4:6], expected, rtol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_seed_decides_and_inputs_stay(seed: int) -> None:
    hu, labels = patch()
    before = hu.copy(), labels.copy()
    first, again = (recontrasted(hu, labels, SPACING, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(hu, before[0])
    np.testing.assert_array_equal(labels, before[1])
    assert first.dtype == np.float32
    assert np.isfinite(first).all()


def test_kidneys_are_darker_and_brighter_than_liver_and_sometimes_as_dark_as_muscle() -> None:
    hu, labels = patch()
    inner = labels == KIDNEY
    medians, brighter = [], []
    for seed in range(60):
        changed = recontrasted(hu, labels, SPACING, np.random.default_rng(seed))
        medians.append(float(np.median(changed[inner])))
        brighter.append(medians[-1] > np.median(changed[hu == LIVER]))
    assert 0.1 < np.mean(np.array(medians) < 50) < 0.5
    assert max(medians) > 180
    assert 0.2 < np.mean(brighter) < 0.9


def test_a_patch_without_kidney_has_its_rest_changed() -> None:
    hu, _ = patch()
    nothing = np.zeros(hu.shape, np.uint8)
    livers = {
        round(float(np.median(recontrasted(hu, nothing, SPACING, np.random.default_rng(seed))[hu == LIVER])))
        for seed in range(12)
    }
    assert len(livers) > 6


def test_noise_is_strong_sometimes() -> None:
    flat = np.zeros((24, 32, 32), np.float32)
    deviations = [float(noisy(flat, np.random.default_rng(seed)).std()) for seed in range(80)]
    assert 0.2 < np.mean(np.array(deviations) > 0) < 0.5
    assert 25 < max(deviations) <= 40.1


def test_the_augmenter_draws_contrast_for_its_share_and_leaves_air() -> None:
    hu, labels = patch()
    grid = recipe(spacing_mm=SPACING)
    image = (np.clip(hu, *grid.clip_hu) / grid.std_hu).astype(np.float32)
    plain, never, always = (
        Augmenter(grid, 0.0, share).patch(image, labels, (12, 16, 16), (24, 32, 32), np.random.default_rng(1))[0]
        for share in (0.0, 1e-9, 1.0)
    )
    assert np.mean(plain == always) < 0.7
    assert never.shape == plain.shape
    np.testing.assert_array_equal(always[:, :3], -2.0)
