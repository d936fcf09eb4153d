"""A volume whose axes are not the patient's is given to the network upright, and its mask brought back."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kits_submit.batch.budget import check_fit
from kits_submit.batch.runner import run_cases
from kits_submit.engine.model import Model
from kits_submit.engine.select import select_engine
from kits_submit.files.cases import find_cases
from kits_submit.files.volume import Grid, open_planes, read_grid
from kits_submit.inference.decision import Likeliest, OfProbabilities
from kits_submit.inference.oblique import ObliqueRestorer, Upright, upright_planes
from kits_submit.inference.restore import Slab
from kits_submit.phantom.draw import draw_phantom
from tests.conftest import KITS_AFFINE_SPACING, kits_affine, recipe, save
from tests.reference import dice

SHAPE = (7, 10, 8)


def turned(
    degrees: tuple[float, float, float], spacing: tuple[float, float, float] = KITS_AFFINE_SPACING
) -> np.ndarray:
    """KiTS's axes turned about the patient's X, then Y, then Z."""
    affine = kits_affine(spacing)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (n for n in range(3) if n != axis)
        turn = np.eye(4)
        turn[np.ix_([a, b], [a, b])] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        affine = turn @ affine
    return affine


def grid_of(affine: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> Grid:
    return Grid(Path("x.nii"), shape, affine, nib.Nifti1Header())


def upright_of(voxels: np.ndarray, upright: Upright, axis: int, *, descending: bool = False) -> np.ndarray:
    planes = [(i, plane) for i, plane in enumerate(np.moveaxis(voxels, axis, 0))]
    streamed = upright_planes(planes[::-1] if descending else planes, voxels.shape, axis, upright, outside=-1000.0)
    return np.stack([plane for _, plane in streamed])


def places_of(upright: Upright) -> np.ndarray:
    """(3, Z, Y, X) of the source."""
    matrix = upright.to_source
    return np.einsum("ij,jzyx->izyx", matrix[:3, :3], np.indices(upright.shape)) + matrix[:3, 3, None, None, None]


ANGLES = st.tuples(*[st.floats(-44, 44)] * 3)


@given(angles=ANGLES, axis=st.integers(0, 2), descending=st.booleans(), slices=st.integers(1, 5))
@settings(max_examples=60)
def test_planes_arriving_one_by_one_make_what_the_whole_volume_does(angles, axis, descending, slices):
    grid = grid_of(turned(angles), (slices, *SHAPE[1:]))
    shape = grid.shape
    voxels = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    upright = Upright.around(grid, (4.0, 1.5, 1.5))
    places = places_of(upright)
    expected = ndimage.map_coordinates(voxels, places, order=1, mode="nearest")
    margin = np.min([np.minimum(p + 0.5, n - 0.5 - p) for p, n in zip(places, shape, strict=True)], axis=0)
    expected[margin < 0] = -1000
    sure = np.abs(margin) > 1e-9  # on the very face, rounding decides
    found = upright_of(voxels, upright, axis, descending=descending)
    np.testing.assert_allclose(found[sure], expected[sure], atol=1e-4)


@given(angles=ANGLES)
@settings(max_examples=60)
def test_an_upright_grid_holds_the_source_along_the_patients_axes(angles):
    grid = grid_of(turned(angles))
    upright = Upright.around(grid, (4.0, 1.5, 1.5))
    to_mm = grid.canonical_affine @ upright.to_source
    np.testing.assert_allclose(to_mm[:3, :3], -np.fliplr(np.diag([1.5, 1.5, 4.0])), atol=1e-9)
    edges = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(3, -1)
    to_upright = np.linalg.inv(upright.to_source)
    inside = to_upright[:3, :3] @ edges + to_upright[:3, 3:]
    assert (inside >= -0.5 - 1e-6).all()
    assert (inside <= np.array(upright.shape)[:, None] - 0.5 + 1e-6).all()
    assert (inside.min(axis=1) < 0.5).all()


@given(angles=ANGLES, axis=st.integers(0, 2), cut=st.integers(1, 5))
@settings(max_examples=40)
def test_labels_come_back_as_the_whole_answer_says(angles, axis, cut):
    grid = grid_of(turned(angles))
    upright = Upright.around(grid, (4.0, 1.5, 1.5))
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(3, *upright.shape)).astype(np.float32)
    scores[0] += 1.0
    scores[0, :, :3] += 9.0  # background, so that the box is less than all
    scores = np.exp(scores) / np.exp(scores).sum(axis=0)
    to_upright = np.linalg.inv(upright.to_source)
    places = (
        np.einsum("ij,jzyx->izyx", to_upright[:3, :3], np.indices(grid.shape)) + to_upright[:3, 3, None, None, None]
    )
    whole = np.stack([ndimage.map_coordinates(part, places, order=1, mode="nearest") for part in scores])
    labels = np.zeros(grid.shape, np.uint8)
    restorer = ObliqueRestorer(labels, upright, axis, OfProbabilities(Likeliest()))
    cut = min(cut, upright.shape[0] - 1)
    for start, stop in ((0, cut), (cut, upright.shape[0])):
        restorer.add(Slab(0, start, stop, scores[:, start:stop]))
    best = np.sort(whole, axis=0)
    sure = best[-1] - best[-2] > 1e-5
    np.testing.assert_array_equal(labels[sure], whole.argmax(axis=0)[sure])
    assert restorer.touched is not None
    outside = np.ones(grid.shape, np.bool_)
    outside[restorer.touched] = False
    assert not labels[outside].any()


def test_an_answer_of_background_touches_nothing():
    upright = Upright.around(grid_of(turned((30, 0, 0))), (4.0, 1.5, 1.5))
    labels = np.zeros(SHAPE, np.uint8)
    scores = np.zeros((2, *upright.shape), np.float32)
    scores[0] = 1
    restorer = ObliqueRestorer(labels, upright, 0, Likeliest())
    restorer.add(Slab(0, 0, upright.shape[0], scores))
    assert restorer.touched is None
    assert not labels.any()


def test_axes_near_the_patients_are_taken_for_them(tmp_path):
    for degrees, upright in ((0, False), (14, False), (16, True)):
        path = save(tmp_path / f"{degrees}.nii", np.zeros(SHAPE, np.int16), turned((degrees, 0, 0)))
        assert (Upright.of(read_grid(path), (3.0, 0.8, 0.8)) is not None) == upright
        with open_planes(path) as planes:
            assert planes.grid.canonical_affine == pytest.approx(planes.grid.affine)


def test_what_stands_whole_counts_in_the_budget(tmp_path, monkeypatch):
    from kits_submit.batch import budget
    from kits_submit.machine.limits import FreeMemory

    save(tmp_path / "case_00000.nii.gz", np.zeros((20, 60, 50), np.int16), turned((40, 0, 0)))
    cases = find_cases(tmp_path)
    upright = Upright.of(read_grid(tmp_path / "case_00000.nii.gz"), recipe().spacing_mm)
    assert upright is not None
    whole = 4 * 4 * int(np.prod(upright.shape))
    least = budget.least_bytes((20, 60, 50), (3.0, 0.8, 0.8), recipe())
    for free, refused in ((least + whole - 1, 1), (least + whole, 0)):
        monkeypatch.setattr(budget, "free_memory", lambda free=free: FreeMemory(free, 1 << 40, "memory"))
        assert len(check_fit(cases, recipe()).refused) == refused


Scan = tuple[np.ndarray, np.ndarray]  # HU and labels, Z, Y, X
PHANTOM_SPACING = (3.0, 1.5, 1.5)


@pytest.fixture(scope="module")
def phantom() -> Scan:
    """The kidneys of a phantom, and 30 mm around them."""
    drawn = draw_phantom(2019, 0, spacing_mm=PHANTOM_SPACING)
    around = np.divide(30, PHANTOM_SPACING).astype(int)
    hit = np.argwhere(drawn.labels > 0)
    low, high = np.maximum(hit.min(axis=0) - around, 0), hit.max(axis=0) + around + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return drawn.image[box], drawn.labels[box]


@pytest.fixture(scope="module")
def straight(phantom: Scan, model: Model, tmp_path_factory: pytest.TempPathFactory) -> float:
    return scored(tmp_path_factory.mktemp("straight"), phantom, kits_affine(PHANTOM_SPACING), model)


@pytest.mark.parametrize("angles", [(44, 0, 0), (0, -25, 0), (20, 15, -20)])
def test_a_phantom_on_oblique_grids_scores_as_its_straight_twin(
    tmp_path: Path, model: Model, phantom: Scan, straight: float, angles: tuple[float, float, float]
) -> None:
    """The same patient scanned along other axes: the mask on that scan's own voxels is as good."""
    assert straight > 0.9
    oblique, affine = rescanned(phantom, angles)
    assert scored(tmp_path, oblique, affine, model) == pytest.approx(straight, abs=0.02)


def rescanned(scan: Scan, angles: tuple[float, float, float]) -> tuple[Scan, np.ndarray]:
    """On axes turned by `angles`, all of the source in it, air around; with its affine."""
    source, affine = kits_affine(PHANTOM_SPACING), turned(angles, PHANTOM_SPACING)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in scan[0].shape], indexing="ij")).reshape(3, -1)
    reached = np.linalg.inv(affine[:3, :3]) @ source[:3, :3] @ corners
    low, high = reached.min(axis=1), reached.max(axis=1)
    affine[:3, 3] = affine[:3, :3] @ low
    matrix = np.linalg.inv(source) @ affine
    index = np.indices(np.ceil(high - low).astype(int) + 1)
    places = np.einsum("ij,jzyx->izyx", matrix[:3, :3], index) + matrix[:3, 3, None, None, None]
    hu = ndimage.map_coordinates(scan[0].astype(np.float32), places, order=1, mode="constant", cval=-1024)
    labels = ndimage.map_coordinates(scan[1], places, order=0, mode="constant")
    return (hu.round().astype(np.int16), labels), affine


def scored(folder: Path, scan: Scan, affine: np.ndarray, model: Model) -> float:
    """Dice of kidney and tumor together."""
    save(folder / "case_00001.nii.gz", scan[0], affine)
    (result,) = run_cases(find_cases(folder), folder / "out", model, select_engine("cpu", model))
    assert result.prediction is not None, result.error
    found = np.asarray(nib.load(folder / "out" / result.prediction).dataobj)
    return dice(found > 0, scan[1] > 0)
