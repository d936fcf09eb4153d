"""Lesions drawn into a kidney: where KiTS has tumors, of the tissue asked for, and nothing else of the scan changed."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, gaussian_filter
from typer.testing import CliRunner

from kits_submit.cli import build_app
from kits_submit.errors import InputError
from kits_submit.labels import BACKGROUND, KIDNEY, TUMOR
from tests.conftest import present, save
from train.pairs import read_pair
from train.synthesis.displace import GROWN, REACH, displace
from train.synthesis.implant import implant, implant_cysts
from train.synthesis.scene import Scene

SPACING = (3.0, 1.5, 1.5)
FULL = np.ones((3, 3, 3), np.bool_)
FAT, CORTEX, BONE = -100.0, 180.0, 600.0


def scan(noise_hu: float = 12.0, blur: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Two kidneys of about 160 mL in fat, a spine between them, air around."""
    shape = (50, 120, 160)
    z, y, x = (np.arange(n)[(...,) + (None,) * k] * s for n, k, s in zip(shape, (2, 1, 0), SPACING, strict=True))
    radial = ((y - 90) / 80) ** 2 + ((x - 120) / 110) ** 2 + 0 * z
    image = np.where(radial < 1, FAT, -1000.0).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    for middle in (70.0, 170.0):
        kidney = ((z - 75) / 55) ** 2 + ((y - 95) / 26) ** 2 + ((x - middle) / 27) ** 2 < 1
        image[kidney], labels[kidney] = CORTEX, KIDNEY
    image[np.broadcast_to(((y - 130) / 22) ** 2 + ((x - 120) / 22) ** 2 < 1, shape)] = BONE
    white = gaussian_filter(np.random.default_rng(0).standard_normal(shape), (0, blur, blur))
    return image + (noise_hu / white.std() * white).astype(np.float32), labels


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.measure(*scan(), SPACING)


def test_the_scene_is_measured_as_it_was_made(scene: Scene) -> None:
    ball = 4 / 3 * math.pi * 55 * 26 * 27 / 1000
    assert [host.volume_ml for host in scene.hosts] == pytest.approx([ball, ball], rel=0.02)
    assert scene.phase == "nephrographic"
    assert scene.noise_hu == pytest.approx(12, rel=0.1)
    assert scene.grain_px == pytest.approx(0.7, abs=0.12)
    assert scene.cortex_hu == pytest.approx(CORTEX + 0.84 * 12, abs=4)  # the 80th percentile of noise about it


def test_cysts_alone_are_kidney_and_dark(scene: Scene) -> None:
    drawn = [implant_cysts(scene, seed) for seed in range(4)]
    for one in drawn:
        assert not (one.labels == TUMOR).any()
        assert {lesion.kind for lesion in one.lesions} <= {"cyst"}
        assert (scene.labels == KIDNEY).sum() <= (one.labels == KIDNEY).sum()
    assert any(one.lesions for one in drawn)
    changed = np.concatenate([one.image[(abs(one.image - scene.image) > 60) & (one.labels == KIDNEY)] for one in drawn])
    assert np.median(changed) < 60


@pytest.mark.parametrize(("noise", "blur"), [(8.0, 0.0), (20.0, 1.0)])
def test_noise_of_other_strength_and_grain(noise: float, blur: float) -> None:
    measured = Scene.measure(*scan(noise, blur), SPACING)
    assert measured.noise_hu == pytest.approx(noise, rel=0.12)
    drawn = measured.noise((4, 64, 64), np.random.default_rng(1))
    again = float(np.corrcoef(drawn[:, :, 1:].ravel(), drawn[:, :, :-1].ravel())[0, 1])
    assert again == pytest.approx(math.exp(-1 / (4 * blur**2)) if blur else 0.0, abs=0.12)


def test_equal_seeds_give_equal_voxels(scene: Scene) -> None:
    one, two, other = implant(scene, 3), implant(scene, 3), implant(scene, 4)
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.lesions == two.lesions != other.lesions


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), millilitres=st.sampled_from([1.5, 10.0, 40.0, 150.0]))
def test_a_tumor_touches_its_kidney_and_leaves_one(scene: Scene, seed: int, millilitres: float) -> None:
    drawn = implant(scene, seed, tumor_ml=millilitres)
    tumor, kidney = drawn.labels == TUMOR, drawn.labels == KIDNEY
    assert (binary_dilation(tumor, FULL) & kidney).any()
    assert np.count_nonzero(kidney) > 0.3 * np.count_nonzero(scene.labels == KIDNEY)
    voxel_ml = math.prod(SPACING) / 1000
    first, *second = (lesion.volume_ml for lesion in drawn.lesions if lesion.kind != "cyst")
    assert 0.4 <= first <= 2.5 * millilitres + 1  # lobes vary, and a small place makes it smaller
    if not second:  # a second one may press on the first
        assert first == pytest.approx(np.count_nonzero(tumor) * voxel_ml, rel=1e-6)
    assert not tumor[(scene.image > 400) | (scene.image < -500)].any()  # neither bone nor air


def test_cysts_are_kidney_of_water_up_to_the_size_of_a_fist(scene: Scene) -> None:
    largest = 4 / 3 * math.pi * 35**3 / 1000
    voxel_ml = math.prod(SPACING) / 1000
    volumes, looked_at = [], 0
    for seed in range(16):
        drawn = implant(scene, seed, tumor_ml=2.0)
        cysts = [lesion for lesion in drawn.lesions if lesion.kind == "cyst"]
        assert len(cysts) <= 3
        volumes += [cyst.volume_ml for cyst in cysts]
        if len(cysts) == 1 and cysts[0].volume_ml > 10:
            smooth = gaussian_filter(drawn.image, 1)
            watery = np.count_nonzero((drawn.labels == KIDNEY) & (smooth < 70) & (smooth > -40)) * voxel_ml
            looked_at += 1
            assert watery == pytest.approx(cysts[0].volume_ml, rel=0.35)
    assert looked_at >= 2
    assert max(volumes) < 1.02 * largest
    assert sum(volume > 45 for volume in volumes) >= 2


def test_far_from_the_lesion_nothing_changes(scene: Scene) -> None:
    drawn = implant(scene, 5, tumor_ml=5.0)
    changed = np.argwhere(drawn.labels != scene.labels) * np.array(SPACING)
    size = changed.max(axis=0) - changed.min(axis=0)
    rounded = np.rint(np.clip(scene.image, -1024, 3071))
    moved = np.argwhere(drawn.image != rounded) * np.array(SPACING)
    assert (moved.max(axis=0) - moved.min(axis=0) < size + 60).all()
    assert np.array_equal(drawn.image, np.rint(drawn.image))


def test_a_tumor_takes_on_the_scans_own_enhancement() -> None:
    image, labels = scan(noise_hu=4.0)
    faint = image.copy()
    faint[labels == KIDNEY] -= 80
    bright, dim = (implant(Scene.measure(i, labels, SPACING), 11, tumor_ml=30.0) for i in (image, faint))
    high, low = (float(np.percentile(drawn.image[drawn.labels == TUMOR], 75)) for drawn in (bright, dim))
    assert high > low + 20
    assert low > FAT + 100


def test_displacement_is_the_stated_map() -> None:
    """A flat front at row 20, growing to higher rows: row r shows what lay at r - shift(r - 20)."""
    rows = np.arange(64, dtype=np.float32)
    image = np.broadcast_to(rows[None, :, None], (8, 64, 8)).copy()
    labels = (image > 30).astype(np.uint8)
    distance = np.broadcast_to((rows - 20)[None, :, None], image.shape)
    far = np.full(image.shape, np.inf, np.float32)
    moved, moved_labels = displace(image, labels, distance, far, (1.0, 1.0, 1.0), 25.0)
    s = np.clip(rows - 20, 0, None)
    source = rows - GROWN * 25 * np.clip(1 - s / (REACH * 25), 0, 1) ** 2
    inner = slice(12, 60)
    np.testing.assert_allclose(moved[4, inner, 4], source[inner], atol=1e-3)
    assert (np.diff(moved[4, inner, 4]) > 0).all()  # nothing folds
    np.testing.assert_array_equal(moved_labels[4, inner, 4], np.rint(source[inner]) > 30)
    unmoved, _ = displace(image, labels, distance, np.zeros_like(far), (1.0, 1.0, 1.0), 25.0)
    np.testing.assert_array_equal(unmoved, image)


def test_a_scan_without_a_kidney_is_refused() -> None:
    image, labels = scan()
    with pytest.raises(InputError, match="no kidney of at least 25 mL is labelled"):
        Scene.measure(image, np.zeros_like(labels), SPACING)


def test_command_writes_cases_and_their_table(tmp_path: Path) -> None:
    image, labels = scan()
    for name, voxels in (("imaging", image.astype(np.int16)), ("segmentation", labels)):
        save(tmp_path / "in" / "case_00007" / f"{name}.nii.gz", voxels)
    arguments = ["implant", str(tmp_path / "in"), str(tmp_path / "out"), "--copies", "2", "--seed", "3"]
    assert CliRunner().invoke(build_app(), arguments).exit_code == 0
    with (tmp_path / "out" / "implants.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {row["case"] for row in rows} == {"case_00000", "case_00001"}
    assert {row["source"] for row in rows} == {"case_00007"}
    for case in ("case_00000", "case_00001"):
        drawn = np.asarray(nib.load(tmp_path / "out" / case / "segmentation.nii.gz").dataobj)  # type: ignore[attr-defined]
        assert set(np.unique(drawn)) == {BACKGROUND, KIDNEY, TUMOR}
        assert nib.load(tmp_path / "out" / case / "imaging.nii.gz").get_data_dtype() == np.int16  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", ["case_90001", "case_90003", "case_90005"])
def test_real_ct(case: str) -> None:
    from kits_submit.files.cases import find_cases
    from kits_submit.labels import KITS19

    (found,) = find_cases(present("data", "realct", case))
    image, labels, spacing_mm = read_pair(found, KITS19)
    scene = Scene.measure(image, labels, spacing_mm)
    assert scene.phase == {"case_90005": "unenhanced"}.get(case, scene.phase)
    assert (scene.phase == "unenhanced") == (case == "case_90005")
    drawn = implant(scene, 1, tumor_ml=20.0)
    assert (binary_dilation(drawn.labels == TUMOR, FULL) & (drawn.labels == KIDNEY)).any()
