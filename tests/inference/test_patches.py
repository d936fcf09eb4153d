from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kits_submit.inference.patches import Span, batches, patch_grid


def test_the_worked_example_of_the_docstring():
    z_spans = sorted({box.z for box in patch_grid((110, 64, 64), (72, 64, 64), (8, 8, 8), 4)}, key=lambda s: s.start)
    assert z_spans == [Span(0, 64, 0, 55), Span(46, 64, 55, 110)]


def test_a_volume_smaller_than_a_patch_takes_one_patch_of_its_own_size():
    (box,) = patch_grid((5, 16, 13), (16, 16, 16), (2, 2, 2), 4)
    assert box.size == (8, 16, 16)
    assert box.kept == (slice(0, 5), slice(0, 16), slice(0, 13))


edges = st.tuples(st.integers(1, 40), st.integers(2, 6), st.integers(0, 3)).map(lambda t: (t[0], 4 * t[1], t[2]))


@given(st.tuples(edges, edges, edges))
def test_kept_parts_tile_the_volume_and_keep_their_margin(axes):
    shape, patch, margin = zip(*axes, strict=True)
    boxes = patch_grid(shape, patch, margin, 4)
    count = np.zeros(shape, np.int64)
    for box in boxes:
        assert all(size % 4 == 0 and size <= p for size, p in zip(box.size, patch, strict=True))
        count[box.kept] += 1
        for span, n, m in zip((box.z, box.y, box.x), shape, margin, strict=True):
            assert span.start >= 0
            assert span.keep_start == 0 or span.keep_start - span.start >= m
            assert span.keep_stop == n or span.start + span.size - span.keep_stop >= m
    assert (count == 1).all()
    assert len({box.size for box in boxes}) == 1


@given(st.integers(1, 200), st.integers(2, 6), st.integers(0, 3))
def test_no_more_patches_than_needed(n, quarter, margin):
    """With one patch fewer along an axis, some voxel would be nearer than the margin to an inner face."""
    patch = 4 * quarter
    count = len(patch_grid((n, 4, 4), (patch, 4, 4), (margin, 0, 0), 4))
    assert count == 1 or (count - 1) * (patch - 2 * margin) + 2 * margin < n


@given(st.integers(1, 200), st.integers(2, 6), st.integers(0, 3))
def test_no_larger_patches_than_needed(n, quarter, margin):
    """By patches a step of 4 smaller, as many would not cover the axis."""
    boxes = patch_grid((n, 4, 4), (4 * quarter, 4, 4), (margin, 0, 0), 4)
    smaller = boxes[0].size[0] - 4
    assert len(boxes) * (smaller - 2 * margin) + 2 * margin < n


@pytest.mark.parametrize("shape", [(3, 4, 5), (16, 16, 16), (17, 18, 23)])
def test_a_cut_holds_the_volume_inside_and_the_given_value_outside(shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for box in patch_grid(shape, (16, 16, 16), (2, 2, 2), 4):
        patch = box.cut(image, outside=-7.0)
        assert patch.shape == box.size
        assert np.array_equal(patch[box.kept_inside], image[box.kept])
        inside = image[tuple(slice(a.start, a.start + a.size) for a in (box.z, box.y, box.x))]
        assert np.count_nonzero(patch == -7.0) == patch.size - inside.size


def test_batches_keep_the_order():
    boxes = patch_grid((60, 60, 60), (16, 16, 16), (2, 2, 2), 4)
    assert [box for some in batches(boxes, 7) for box in some] == boxes
