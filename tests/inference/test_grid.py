from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from kits_submit.files.volume import read_labels
from kits_submit.inference.grid import class_probabilities, resample, resample_nearest, target_shape
from kits_submit.inference.restore import restore_labels
from tests import reference

shapes = st.tuples(*[st.integers(1, 7)] * 3)
ROUND_TRIP_SPACING = (3.0, 0.78125, 0.78125)  # KiTS19's median
ROUND_TRIP_CASES = range(20)


def test_target_shape_by_hand():
    assert target_shape((110, 512, 512), (5.0, 0.8, 0.8), (3.0, 1.6, 0.8)) == (183, 256, 512)
    assert target_shape((1, 3, 3), (0.5, 0.5, 0.5), (9.0, 9.0, 9.0)) == (1, 1, 1)


@settings(max_examples=60)
@given(image=hnp.arrays(np.float32, shapes, elements=st.floats(-1024, 3000, width=16)), shape=shapes)
def test_resampling_equals_the_definition(image, shape):
    assert np.abs(resample(image, shape) - reference.trilinear(image, shape)).max() <= 1e-3  # of HU: 3e-7 of the range


@pytest.mark.parametrize("shape", [(20, 31, 17), (9, 80, 64), (41, 13, 96)])
def test_resampling_equals_scipy(shape):
    image = np.random.default_rng(0).normal(0, 1, (21, 40, 33)).astype(np.float32)
    zoom = [n / size for n, size in zip(shape, image.shape, strict=True)]
    expected = ndimage.zoom(image.astype(np.float64), zoom, order=1, mode="nearest", grid_mode=True)
    assert np.abs(resample(image, shape) - expected).max() <= 1e-5


def test_the_same_grid_gives_a_copy():
    image = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    same = resample(image, (3, 4, 5))
    assert np.array_equal(same, image)
    assert not np.shares_memory(same, image)


@given(shape=shapes, target=shapes, value=st.floats(-1000, 1000, width=32, allow_subnormal=False))
def test_a_constant_stays_constant(shape, target, value):
    assert np.allclose(resample(np.full(shape, value, np.float32), target), value, rtol=1e-6, atol=0)


@given(labels=hnp.arrays(np.uint8, shapes, elements=st.integers(0, 2)), shape=shapes)
def test_nearest_takes_the_voxel_whose_cell_holds_the_centre(labels, shape):
    resampled = resample_nearest(labels, shape)
    for index in np.ndindex(*shape):
        cell = tuple(int((2 * i + 1) * size // (2 * n)) for i, n, size in zip(index, shape, labels.shape, strict=True))
        assert resampled[index] == labels[cell]


@given(labels=hnp.arrays(np.uint8, shapes, elements=st.integers(0, 2)), shape=shapes)
def test_class_probabilities_sum_to_one_and_keep_volume_where_all_axes_shrink(labels, shape):
    probabilities = class_probabilities(labels, shape, 3)
    assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    if all(n <= size for n, size in zip(shape, labels.shape, strict=True)):
        shares = [np.count_nonzero(labels == k) / labels.size for k in range(3)]
        assert np.allclose(probabilities.mean(axis=(1, 2, 3)), shares, atol=1e-5)


@settings(max_examples=60)
@given(
    logits=hnp.arrays(np.float32, st.tuples(st.just(3), *[st.integers(1, 5)] * 3), elements=st.floats(-4, 4, width=16)),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_restoring_in_the_foreground_box_equals_interpolating_everywhere(logits, shape):
    """Where the two best classes differ by more than rounding."""
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    whole = np.stack([reference.trilinear(one, shape) for one in probabilities])
    best = np.sort(whole, axis=0)
    clear = best[-1] - best[-2] > 1e-5
    restored = restore_labels(probabilities, shape)
    assert np.array_equal(restored[clear], whole.argmax(axis=0).astype(np.uint8)[clear])


def test_no_foreground_restores_to_background():
    probabilities = np.zeros((3, 2, 2, 2), np.float32)
    probabilities[0] = 1
    assert not restore_labels(probabilities, (5, 5, 5)).any()


def test_real_labels_survive_the_round_trip(kits_labels):
    """Twenty KiTS19 label maps to 3.0 x 0.78 x 0.78 mm as class probabilities and back: next to nothing is lost."""
    kidney, tumor = [], []
    for number in ROUND_TRIP_CASES:
        labels = read_labels(kits_labels / f"case_{number:05d}" / "segmentation.nii.gz")
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(labels.voxels))
        z, y, x = (slice(max(0, s.start - 12), s.stop + 12) for s in box)
        voxels = labels.voxels[z, y, x]
        shape = target_shape(voxels.shape, labels.grid.spacing_mm, ROUND_TRIP_SPACING)
        back = restore_labels(class_probabilities(voxels, shape, 3), voxels.shape)
        kidney.append(reference.dice(back > 0, voxels > 0))
        tumor.append(reference.dice(back == 2, voxels == 2))
    assert np.median(kidney) >= 0.998
    assert np.median(tumor) >= 0.998
    assert min(kidney) >= 0.98
    assert min(tumor) >= 0.94
