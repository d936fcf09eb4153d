from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kits_submit.errors import ModelError
from kits_submit.inference.decision import softmax
from kits_submit.inference.stitch import stitch
from tests.conftest import recipe

edge = st.sampled_from([1, 5, 15, 16, 17, 31, 33])


class Voxelwise:
    """Logits that are a function of each voxel alone."""

    name, device, batch_voxels = "stand-in", "none", 1

    def run(self, batch: np.ndarray, _: object = None, /) -> np.ndarray:
        return np.concatenate([np.sin(batch), np.cos(3 * batch), batch * batch], axis=1)


class Blurring(Voxelwise):
    """A network whose voxel depends on its neighbours within two voxels, zero-padded at the patch's faces."""

    def run(self, batch: np.ndarray, _: object = None, /) -> np.ndarray:
        blurred = ndimage.correlate(batch, np.full((1, 1, 5, 5, 5), 1 / 125), mode="constant")
        return np.concatenate([blurred, -blurred, 2 * blurred], axis=1)


def image_of(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)


@settings(max_examples=40)
@given(shape=st.tuples(edge, edge, edge), margin=st.integers(0, 7), batch_size=st.integers(1, 5))
def test_a_voxelwise_network_gives_the_same_bits_stitched_as_whole(shape, margin, batch_size):
    image = image_of(shape)
    stitched = stitch(image, recipe(margin=(margin,) * 3), Voxelwise(), outside=0.0, batch_size=batch_size)
    assert np.array_equal(stitched, softmax(Voxelwise().run(image[None, None])[0]))


def test_a_margin_of_the_receptive_field_hides_the_patches():
    """Zero outside is what the network itself pads with, so only inner faces could differ."""
    image = image_of((30, 44, 16))
    whole = softmax(Blurring().run(image[None, None])[0])
    hidden = stitch(image, recipe(margin=(2, 2, 2)), Blurring(), outside=0.0)
    assert np.allclose(hidden, whole, atol=1e-6)
    seen = stitch(image, recipe(margin=(1, 1, 1)), Blurring(), outside=0.0)
    assert not np.allclose(seen, whole, atol=1e-3)


def test_a_constant_comes_back_exactly_constant():
    stitched = stitch(np.full((33, 20, 50), 0.3, np.float32), recipe(), Voxelwise(), outside=0.0)
    assert (stitched == stitched[:, :1, :1, :1]).all()


def test_progress_tells_every_patch():
    told: list[tuple[int, int]] = []
    stitch(
        image_of((40, 16, 16)), recipe(), Voxelwise(), outside=0.0, batch_size=2, on_patches=lambda *n: told.append(n)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_softmax_by_hand_and_for_large_logits():
    assert softmax(np.log(np.array([[1.0], [2.0], [5.0]], np.float32))).ravel() == pytest.approx([0.125, 0.25, 0.625])
    assert softmax(np.array([[1000.0], [0.0], [-1000.0]], np.float32)).ravel().tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda batch, _: batch, r"shape \(1, 1, 16, 16, 16\), expected \(1, 3, 16, 16, 16\)"),
        (lambda batch, _: np.full((1, 3, 16, 16, 16), np.nan, np.float32), "NaN or infinite"),
    ],
)
def test_a_network_that_answers_nonsense_is_refused(answer, told):
    engine = Voxelwise()
    engine.run = answer  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=told):
        stitch(image_of((16, 16, 16)), recipe(), engine, outside=0.0)
