"""Other frameworks' ways against naive ones: cubic resampling plane by plane, frames, surveys, blending, mirroring."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kits_submit.errors import ModelError
from kits_submit.files.volume import open_planes, read_volume
from kits_submit.inference.answers import Network
from kits_submit.inference.decision import Likeliest, OfLogits
from kits_submit.inference.frame import Frame
from kits_submit.inference.intensity import Intensity
from kits_submit.inference.largest import keep_largest
from kits_submit.inference.mirrored import Mirrored
from kits_submit.inference.patches import PatchPlan
from kits_submit.inference.restore import Restorer, Slab
from kits_submit.inference.splines import Along
from kits_submit.inference.stitch import Arriving, slabs
from kits_submit.inference.survey import Survey
from kits_submit.practice import Practice
from kits_submit.recipe import Recipe
from tests.conftest import recipe, save

edge = st.integers(1, 40)
shapes = st.tuples(edge, edge, edge)
ORDERS = [(axis, descending) for axis in range(3) for descending in (False, True)]


def planes_of(image: np.ndarray, axis: int, descending: bool) -> list[tuple[int, np.ndarray]]:
    planes = list(enumerate(np.moveaxis(image, axis, 0)))
    return planes[::-1] if descending else planes


def naive_cubic(image: np.ndarray, shape: tuple[int, ...], apart: int | None) -> np.ndarray:
    """As nnU-Net's `resample_data_or_seg` has it: skimage's resize, or slice by slice and the nearest slice."""
    if image.shape == shape:
        return image
    if apart is None:
        return resized(image, shape)
    slices = [resized(part, [n for a, n in enumerate(shape) if a != apart]) for part in np.moveaxis(image, apart, 0)]
    n_in, n_out = len(slices), shape[apart]
    nearest = np.floor((np.arange(n_out) + 0.5) * n_in / n_out).astype(int)
    return np.stack([slices[i] for i in nearest], axis=apart)


def resized(part: np.ndarray, shape: list[int] | tuple[int, ...]) -> np.ndarray:
    factors = [b / a for a, b in zip(part.shape, shape, strict=True)]
    made = ndimage.zoom(part.astype(float), factors, order=3, mode="nearest", grid_mode=True)
    return np.clip(made, part.min(), part.max())


@settings(max_examples=40)
@given(shape=shapes, wanted=shapes, order=st.sampled_from(ORDERS), apart=st.sampled_from([None, 0, 1, 2]))
def test_cubic_planes_are_the_whole_volume_s(shape, wanted, order, apart):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    axis, descending = order
    if apart is not None and apart != axis:
        image = np.clip(ndimage.gaussian_filter(image, 3), -0.02, 0.02)  # slices' own limits are not known then
    along = Along.between(shape, wanted, apart)
    limits = float(image.min()), float(image.max())
    made = list(along.planes(planes_of(image, axis, descending), axis, limits, descending=descending))
    assert [i for i, _ in made] == list(range(wanted[axis]))[:: -1 if descending else 1]
    ours = np.stack([plane for _, plane in sorted(made, key=lambda pair: pair[0])], axis=axis)
    expected = naive_cubic(image, wanted, apart)
    if apart is not None and apart != axis:
        expected = np.clip(expected, *limits)
        assert np.abs(ours - expected).mean() < 1e-3
    else:
        assert np.abs(ours - expected).max() < 2e-5


def test_cubic_planes_hold_a_band_alone():
    given_so_far = 0

    def planes():
        nonlocal given_so_far
        for i in range(400):
            given_so_far = i
            yield i, np.full((3, 3), i, np.float32)

    along = Along.between((400, 3, 3), (200, 3, 3), None)
    for o, plane in along.planes(planes(), 0, (0.0, 399.0)):
        assert abs(float(plane[0, 0]) - (2 * o + 0.5)) < 0.1
        assert given_so_far <= min(399, 2 * o + 16)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_a_frame_has_the_file_s_own_axes_whatever_they_mean(tmp_path, order, flips):
    """Axis 0 of the network is the file's slowest; planes, shapes and views agree with the stored array turned."""
    stored = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = np.diag([f * s for f, s in zip(flips, (1.0, 2.0, 3.0), strict=True)])[:, list(order)]
    path = save(tmp_path / "image.nii.gz", stored, affine)
    axes = (2, 0, 1)
    made = recipe(practice=Practice(axes=axes))
    expected = stored.transpose(2, 1, 0).transpose(axes)
    volume = read_volume(path)
    frame = Frame.of(volume.grid, made)
    assert np.array_equal(frame.view(volume.voxels), expected)
    assert frame.shape(volume.grid) == expected.shape
    zooms = nib.load(path).header.get_zooms()[::-1]
    assert np.allclose(frame.spacing(volume.grid), [zooms[axis] for axis in axes])
    assert frame.back(frame.turned((1, 2, 3))) == (1, 2, 3)
    with open_planes(path) as source:
        axis, descending = frame.arrival(source.axis, descending=source.descending)
        got = list(frame.planes(source.stream, source.axis, source.grid.shape[source.axis]))
    assert not descending
    assert np.array_equal(np.stack([plane for _, plane in sorted(got, key=lambda p: p[0])], axis), expected)


@settings(max_examples=30)
@given(shape=shapes, order=st.sampled_from(ORDERS), seed=st.integers(0, 9))
def test_a_survey_is_of_the_box_that_is_not_zero(shape, order, seed):
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    part = tuple(slice(n // 3, max(n // 3 + 1, n - n // 4)) for n in shape)
    image[part] = np.rint(rng.normal(0, 40, image[part].shape))
    survey = Survey.of(planes_of(image, *order), order[0], shape)
    found = np.argwhere(image)
    if not len(found):
        assert survey.box == tuple((0, n) for n in shape)
        return
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(found.min(0), found.max(0), strict=True))
    assert survey.box == tuple((s.start, s.stop) for s in box)
    values = image[box].astype(float)
    told = (survey.least, survey.most, survey.mean, survey.std)
    assert np.allclose(told, (values.min(), values.max(), values.mean(), values.std()), atol=1e-6)


def test_intensities_are_nnunet_s():
    image = np.random.default_rng(0).normal(40, 300, (4, 5, 6)).astype(np.float32)
    survey = Survey.of(enumerate(image), 0, image.shape)

    def of(kind: str) -> np.ndarray:
        return Intensity.of(recipe(practice=Practice(intensity=kind)), survey).apply(image.copy())

    assert np.allclose(of("window"), np.clip(image, -200, 500) / 100)
    assert np.allclose(of("zscore"), (image - image.mean()) / image.std(), atol=1e-5)
    assert np.allclose(of("range"), (image - image.min()) / (image.max() - image.min()), atol=1e-6)
    assert np.array_equal(of("none"), image)


class Smoothing:
    """A network that sees its neighbours and zeros beyond the patch."""

    name, device, batch_voxels = "stand-in", "none", 1

    def run(self, batch, cells=None, /):
        slope = np.linspace(0, 1, batch.shape[-1], dtype=np.float32)
        return np.concatenate([ndimage.uniform_filter(batch, (1, 1, 3, 3, 3), mode="constant"), batch * slope], axis=1)


def naive_sliding(image: np.ndarray, patch: tuple[int, ...], step: float) -> np.ndarray:
    """nnU-Net's sliding window, written as it is there, in float64."""
    pads = [(max(0, p - n) // 2, max(0, p - n) - max(0, p - n) // 2) for p, n in zip(patch, image.shape, strict=True)]
    padded = np.pad(image, pads)
    starts = []
    for n, p in zip(padded.shape, patch, strict=True):
        count = int(np.ceil((n - p) / (p * step))) + 1
        starts.append([int(np.round((n - p) / max(1, count - 1) * i)) for i in range(count)])
    delta = np.zeros(patch)
    delta[tuple(p // 2 for p in patch)] = 1
    weights = ndimage.gaussian_filter(delta, [p / 8 for p in patch], 0, mode="constant")
    weights = (weights / weights.max() * 10).astype(np.float16).astype(float)
    weights[weights == 0] = weights[weights > 0].min()
    sums, total = np.zeros((2, *padded.shape)), np.zeros(padded.shape)
    for place in itertools.product(*starts):
        part = tuple(slice(a, a + p) for a, p in zip(place, patch, strict=True))
        sums[(slice(None), *part)] += Smoothing().run(padded[part][None, None])[0] * weights
        total[part] += weights
    inner = tuple(slice(low, low + n) for (low, _), n in zip(pads, image.shape, strict=True))
    return (sums / total)[(slice(None), *inner)]


@settings(max_examples=25)
@given(shape=shapes, order=st.sampled_from(ORDERS), overlap=st.sampled_from([0.5, 0.25]))
def test_blended_patches_are_nnunet_s_sliding_window(shape, order, overlap):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image[: shape[0] // 2] = 0.5  # patches of one value, which are answered early
    plan = PatchPlan((16, 12, 20), (0, 0, 0), (4, 2, 4), overlap, centred=True)
    axis, descending = order
    volume = Arriving(shape, axis, descending, planes_of(image, axis, descending))
    ours = np.full((2, *shape), np.nan, np.float32)
    for slab in slabs(volume, plan, Network(Smoothing(), 2, 0.0)):
        np.moveaxis(ours, 1 + slab.axis, 1)[:, slab.start : slab.stop] = slab.scores
    assert np.abs(ours - naive_sliding(image, (16, 12, 20), 1 - overlap)).max() < 1e-5


@pytest.mark.parametrize("axes", [(), (2,), (0, 1, 2)])
def test_mirrored_is_the_mean_over_each_combination(axes):
    batch = np.random.default_rng(0).normal(size=(2, 1, 4, 6, 8)).astype(np.float32)
    every = [c for n in range(len(axes) + 1) for c in itertools.combinations([a + 2 for a in axes], n)]
    expected = np.mean([np.flip(Smoothing().run(np.flip(batch, c)), c) for c in every], axis=0)
    assert np.allclose(Mirrored(Smoothing(), axes).run(batch), expected, atol=1e-6)


@settings(max_examples=25)
@given(shape=shapes, wanted=shapes, order=st.sampled_from(ORDERS), apart=st.sampled_from([None, 0, 1, 2]))
def test_logits_come_back_linear_or_by_the_nearest_plane(shape, wanted, order, apart):
    axis, descending = order
    logits = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(3, *shape)), (0, 1, 1, 1)).astype(np.float32)
    labels = np.zeros(wanted, np.uint8)
    restorer = Restorer(labels, shape, descending=descending, decision=OfLogits(Likeliest()), apart=apart)
    turned, half = np.moveaxis(logits, 1 + axis, 1), shape[axis] // 2
    parts = [(0, half), (half, shape[axis])] if half else [(0, shape[axis])]
    for start, stop in parts[:: -1 if descending else 1]:
        restorer.add(Slab(axis, start, stop, turned[:, start:stop]))
    expected = logits.astype(float)
    for a in range(3):
        factors = [1.0, 1.0, 1.0, 1.0]
        factors[1 + a] = wanted[a] / shape[a]
        if a == apart:
            nearest = np.floor((np.arange(wanted[a]) + 0.5) * shape[a] / wanted[a]).astype(int)
            expected = expected.take(nearest, axis=1 + a)
        else:
            expected = ndimage.zoom(expected, factors, order=1, mode="nearest", grid_mode=True)
    ranked = np.sort(expected, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-5
    assert np.array_equal(labels[clear], expected.argmax(0)[clear])


def test_the_largest_component_of_each_group_stays():
    labels = np.zeros((1, 5, 12), np.uint8)
    labels[0, 0, :4], labels[0, 0, 4] = 1, 2  # 5 voxels of the group 1, 2
    labels[0, 3, :3], labels[0, 3, 6:10] = 1, 2  # 3 and 4 of it
    keep_largest(labels, [(1, 2)])
    assert labels[0, 0].tolist() == [1, 1, 1, 1, 2, *[0] * 7]
    assert not labels[0, 3].any()


@pytest.mark.parametrize(
    ("spacing", "other", "axis"),
    [((5, 1, 1), (1, 1, 1), 0), ((1, 1, 1), (1, 1, 4), 2), ((3, 1, 1), (1, 1, 1), None), ((4, 4, 1), (9, 1, 1), None)],
)
def test_the_axis_apart_is_the_one_longest_edge_over_three(spacing, other, axis):
    assert Practice(apart=3.0).apart_axis(spacing, other) == axis


def test_a_practice_travels_in_the_recipe_and_is_left_out_where_it_says_nothing():
    practice = Practice(axes=(2, 0, 1), nonzero=True, order=3, overlap=0.5, mirrored=(0, 2), largest=((1, 2), (2,)))
    made = recipe(practice=practice, multiple=(4, 8, 16))
    assert Recipe.from_json(made.to_json()) == made
    assert "practice" not in recipe().document()
    with pytest.raises(ModelError, match=r"Recipe.practice: order is 2, allowed: 1 or 3"):
        Recipe.from_json(made.to_json().replace('"order": 3', '"order": 2'))
    with pytest.raises(ModelError, match="unknown fields"):
        Recipe.from_json(made.to_json().replace('"order"', '"ordre"'))
