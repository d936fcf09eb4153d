"""Augmentation: image and label move together, the centre stays, values stay in the window, and the seed decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import recipe
from train.synthesis.augment import Augmenter, mirror, thickened

RECIPE = recipe(spacing_mm=(3.0, 1.5, 1.5))
LOW, HIGH = -2.0, 5.0  # its window, standardised


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Bright balls are label 1, and nothing else is bright."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (40, 60, 60)), indexing="ij")
    inside = (z % 20 - 10) ** 2 * 4 + (y % 30 - 15) ** 2 + (x % 30 - 15) ** 2 < 144
    return np.where(inside, 3.0, -1.0).astype(np.float16), inside.astype(np.uint8)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.3, 1.0, 1.5]))
def test_centre_keeps_its_class_and_values_their_window(seed: int, strength: float) -> None:
    image, label = blobs()
    rng = np.random.default_rng(seed)
    centre = tuple(int(rng.integers(n)) for n in image.shape)
    moved, classes = Augmenter(RECIPE, strength).patch(image, label, centre, (16, 24, 20), rng)  # type: ignore[arg-type]
    assert moved.shape == classes.shape == (16, 24, 20)
    assert moved.dtype == np.float32
    assert classes.dtype == np.uint8
    assert np.isfinite(moved).all()
    assert moved.min() >= LOW - 1e-5
    assert moved.max() <= HIGH + 1e-5
    cut_off = moved[8, 12, 10] == pytest.approx(LOW, abs=1e-5)
    assert cut_off or classes[8, 12, 10] == label[centre]


def test_image_and_label_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Augmenter, "_fed", lambda _, image, *__: image)  # it draws what is bright and no label
    image, label = blobs()
    means = []
    for seed in range(12):
        moved, classes = Augmenter(RECIPE, 1.0).patch(
            image, label, (10, 15, 15), (32, 32, 32), np.random.default_rng(seed)
        )
        means.append((moved[classes == 1].mean(), moved[classes == 0].mean()))
    assert all(bright > dark + 0.5 for bright, dark in means)
    assert len({round(float(bright), 3) for bright, _ in means}) > 8  # and they differ


def test_equal_seeds_give_equal_patches() -> None:
    image, label = blobs()
    one, two, other = (
        Augmenter(RECIPE, 1.0).patch(image, label, (5, 9, 3), (16, 16, 16), np.random.default_rng(seed))
        for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_bowel_loops_are_background_that_may_be_as_bright_as_a_kidney(seed: int) -> None:
    image, label = (part[:24] for part in blobs())
    image = image.astype(np.float32)
    fed = Augmenter(RECIPE, 1.0)._fed(image, label, np.random.default_rng(seed))
    np.testing.assert_array_equal(fed[label == 1], image[label == 1])
    assert fed.min() >= LOW - 1e-5
    assert fed.max() <= HIGH + 1e-5
    changed = fed != image
    assert 0 < np.count_nonzero(changed) < np.count_nonzero(label == 0)
    assert not changed[label == 1].any()


def test_a_bowel_loop_is_dim_to_beyond_the_window_and_may_hold_gas_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.synthesis.augment.LOOPS", 1)
    image, label = np.full((24, 40, 40), -1, np.float32), np.zeros((24, 40, 40), np.uint8)
    brightest, gas = [], 0
    for seed in range(60):
        fed = Augmenter(RECIPE, 1.0)._fed(image, label, np.random.default_rng(seed))
        brightest.append(float(fed.max()))
        empty = fed <= LOW + 1e-5
        gas += bool(empty.any())
        if empty.any():
            assert np.argwhere(empty)[:, 1].max() < np.argwhere(fed > 0)[:, 1].max()  # Y runs to the back
    assert min(brightest) < 4
    assert max(brightest) == pytest.approx(HIGH, abs=1e-4)
    assert 10 < gas < 60


def test_air_alone_is_left_as_it_is() -> None:
    air, label = np.full((8, 8, 8), LOW, np.float32), np.zeros((8, 8, 8), np.uint8)
    assert Augmenter(RECIPE, 1.0)._fed(air, label, np.random.default_rng(0)) is air


def test_beyond_the_volume_is_air_and_background() -> None:
    image, label = np.full((8, 8, 8), 3.0, np.float16), np.ones((8, 8, 8), np.uint8)
    shares = []
    for seed in range(8):
        moved, classes = Augmenter(RECIPE, 0.2).patch(
            image, label, (0, 0, 0), (32, 32, 32), np.random.default_rng(seed)
        )
        far = moved[:8, :8, :8]  # the corner away from the volume
        assert far.mean() < LOW + 0.3
        assert not classes[:8, :8, :8].any()
        shares.append(classes.mean())
    assert np.mean(shares) == pytest.approx((8 / 32) ** 3, rel=0.5)


def test_thick_slices_are_means_read_between() -> None:
    ramp = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    np.testing.assert_array_equal(thickened(ramp, 1.0, 0.3), ramp)
    pairs = thickened(ramp, 2.0, 0.0)[:, 0, 0]  # means 0.5, 2.5, 4.5, 6.5 at 1, 3, 5, 7: voxel centres at 0.5, 1.5, ..
    np.testing.assert_allclose(pairs, [0.5, 1, 2, 3, 4, 5, 6, 6.5], atol=1e-5)
    step = np.zeros((8, 1, 1), np.float32)
    step[4:] = 1
    np.testing.assert_allclose(thickened(step, 4.0, 0.0)[:, 0, 0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], atol=1e-5)


@given(slices=st.floats(0.5, 6), phase=st.floats(0, 1))
def test_a_constant_stays_constant_in_thick_slices(slices: float, phase: float) -> None:
    constant = np.full((9, 2, 3), 1.25, np.float32)
    np.testing.assert_allclose(thickened(constant, slices, phase), constant, rtol=1e-5)


def test_mirror_turns_both_alike() -> None:
    image, label = blobs()
    flipped, classes = mirror(image, label, "zyx", np.random.default_rng(1))
    np.testing.assert_array_equal(flipped > 0, classes == 1)
