"""Slab by slab against the whole volume: any axis, either order, skipped or computed, blended or cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kits_submit.engine.crop import Cells, Crop, part_of
from kits_submit.engine.protocol import OutOfMemory
from kits_submit.errors import InputError
from kits_submit.inference.answers import Network
from kits_submit.inference.decision import highest, softmax
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.restore import Restorer, Slab, restore_labels
from kits_submit.inference.stitch import Arriving, slabs

AIR = -2.0
CROP = Crop(stride=2, halo=1)  # two voxels, as far as `Smoothing` looks
edge = st.sampled_from([3, 15, 16, 17, 33, 40])
orders = [(axis, descending) for axis in range(3) for descending in (False, True)]


class Smoothing:
    """A network whose voxel depends on its neighbours, so that each patch's answer is another where they overlap."""

    name, device, batch_voxels = "stand-in", "none", 1

    def __init__(self, room: int = 10**9) -> None:
        self.room, self.runs = room, 0

    def run(self, batch: np.ndarray, cells: Cells | None = None, /) -> np.ndarray:
        """Where less than the whole is asked for, what lies beyond a cell's reach is wrong."""
        self.runs += len(batch)
        if len(batch) > self.room:
            raise OutOfMemory("full", fix="")
        if cells is not None:
            origin, size = CROP.voxels(cells)
            batch = part_of(batch, origin, [o + n for o, n in zip(origin, size, strict=True)])
        blurred = ndimage.uniform_filter(batch, (1, 1, 5, 5, 5), mode="constant")
        return np.concatenate([-blurred, blurred - 0.2, 2 * blurred - 0.9], axis=1).astype(np.float32)


def body(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Noise in air."""
    image = np.full(shape, AIR, np.float32)
    inner = tuple(slice(n // 4, n - n // 4) for n in shape)
    image[inner] = np.random.default_rng(seed).normal(0.3, 1, image[inner].shape)
    return image


def arriving(image: np.ndarray, axis: int, descending: bool) -> Arriving:
    planes = [(i, plane) for i, plane in enumerate(np.moveaxis(image, axis, 0))]
    return Arriving(image.shape, axis, descending, planes[::-1] if descending else planes)


def whole(image: np.ndarray, plan: PatchPlan, order: tuple[int, bool] = (0, False), **network: object) -> np.ndarray:
    out = np.full((3, *image.shape), np.nan, np.float32)
    settings = {"engine": Smoothing(), "classes": 3, "outside": AIR} | network
    for slab in slabs(arriving(image, *order), plan, Network(**settings)):  # type: ignore[arg-type]
        np.moveaxis(out, 1 + slab.axis, 1)[:, slab.start : slab.stop] = slab.scores
    return out


@settings(max_examples=25)
@given(shape=st.tuples(edge, edge, edge), order=st.sampled_from(orders), overlap=st.sampled_from([None, 0.5, 0.25]))
def test_the_way_in_which_a_volume_arrives_changes_nothing(shape, order, overlap):
    image, plan = body(shape), PatchPlan((16, 16, 16), (2, 2, 2), 4, overlap)
    expected = whole(image, plan, skip=False)
    assert np.isfinite(expected).all()
    assert np.allclose(whole(image, plan, order), expected, atol=1e-5)
    assert overlap is not None or np.array_equal(whole(image, plan, order), expected)


@settings(max_examples=25)
@given(shape=st.tuples(edge, edge, edge), order=st.sampled_from(orders))
def test_a_part_of_each_patch_is_enough(shape, order):
    """With patches of air among them, which are answered whole."""
    image, plan = body(shape), PatchPlan((16, 16, 16), (4, 4, 4), 4)
    expected = whole(image, plan, skip=False)
    found = [whole(image, plan, order, crop=CROP, batch_size=size) for size in (1, 4, 9)]
    assert np.allclose(found[0], expected, atol=1e-4)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_blending_equals_its_definition():
    image, plan = body((24, 20, 33)), PatchPlan((16, 16, 16), (0, 0, 0), 4, 0.5)
    sums, weights = np.zeros((3, 24, 20, 33)), np.zeros((24, 20, 33))
    gauss = [np.exp(-0.5 * ((np.arange(16) - 7.5) / 2) ** 2) for _ in range(3)]
    weight = gauss[0][:, None, None] * gauss[1][:, None] * gauss[2]
    weight = np.maximum(weight / weight.max(), 1e-6)
    for z in (0, 8):
        for y in (0, 4):
            for x in (0, 6, 11, 17):
                place = (slice(z, z + 16), slice(y, y + 16), slice(x, x + 16))
                sums[(slice(None), *place)] += weight * Smoothing().run(image[place][None, None])[0]
                weights[place] += weight
    starts = [span.start for span, _ in plan.rows((24, 20, 33), axis=2)]
    assert starts == [0, 6, 11, 17]
    assert np.allclose(whole(image, plan), sums / weights, atol=1e-4)


@pytest.mark.parametrize("overlap", [None, 0.5])
def test_air_is_computed_once_and_labels_stay(overlap):
    image, plan = body((64, 64, 64)), PatchPlan((16, 16, 16), (2, 2, 2), 4, overlap)
    image[:16] = AIR
    lazy, eager = Smoothing(), Smoothing()
    skipping = whole(image, plan, engine=lazy)
    assert np.array_equal(skipping, whole(image, plan, engine=eager, skip=False))
    assert lazy.runs < eager.runs


def test_a_batch_too_large_is_halved_and_the_answer_stays():
    image, plan = body((40, 40, 40)), PatchPlan((16, 16, 16), (2, 2, 2), 4)
    expected = whole(image, plan, batch_size=1)
    for size in (2, 8, 100):
        assert np.array_equal(whole(image, plan, batch_size=size), expected)
        assert np.array_equal(whole(image, plan, batch_size=size, engine=Smoothing(room=3)), expected)
    with pytest.raises(OutOfMemory):
        whole(image, plan, batch_size=4, engine=Smoothing(room=0))


@settings(max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    target=st.tuples(*[st.integers(1, 14)] * 3),
    order=st.sampled_from(orders),
    seed=st.integers(0, 99),
)
def test_restoring_slab_by_slab_equals_restoring_the_whole(shape, target, order, seed):
    axis, descending = order
    rng = np.random.default_rng(seed)
    logits = (rng.normal(0, 2, (3, *shape)) + np.array([2, 0, 0]).reshape(3, 1, 1, 1)).astype(np.float32)
    cuts = sorted({0, shape[axis], *rng.integers(0, shape[axis] + 1, 3).tolist()})
    labels = np.zeros(target, np.uint8)
    restorer = Restorer(labels, shape, descending=descending)
    parts = list(itertools.pairwise(cuts))
    for start, stop in parts[::-1] if descending else parts:
        restorer.add(Slab(axis, start, stop, np.moveaxis(logits, 1 + axis, 1)[:, start:stop]))
    expected = restore_labels(softmax(logits), target)
    assert (labels != expected).mean() <= 0.002 * (axis > 0)  # another axis first: other rounding where two classes tie


def test_the_highest_is_argmax():
    scores = np.random.default_rng(0).integers(0, 3, (3, 20, 20)).astype(np.float32)
    assert np.array_equal(highest(scores), scores.argmax(axis=0))


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (((15, 16, 16), (2, 2, 2), 4), "patch is"),
        (((16, 16, 16), (8, 2, 2), 4), "margin is"),
        (((16, 16, 16), (2, 2, 2), 4, 1.0), "overlap is"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan, told):
    with pytest.raises(InputError, match=told):
        PatchPlan(*plan)
