"""Fingerprint and cache against numpy on the voxels themselves; the split; the config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kits_submit.errors import GeometryError, InputError, LabelError, OutputError
from kits_submit.files.cases import Case, find_cases
from kits_submit.labels import KITS19
from kits_submit.recipe import Recipe
from kits_submit.types import Image, Labels
from train.config import TrainConfig
from train.data.cache import cache_case, slices_to_keep
from train.data.fingerprint import clipped_moments, foreground_histogram, make_recipe, measure, percentile
from train.data.splits import split_cases
from train.pairs import content_hash
from train.presets import preset

AFFINE = np.array([[0, 0, -1.5, 0], [0, -1.5, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])  # I P L, 3.0 x 1.5 x 1.5 mm


def phantom(seed: int, slices: int = 8) -> tuple[Image, Labels]:
    """A bright block (kidney) with a dark one in it (tumor) in noise, whole HU."""
    rng = np.random.default_rng(seed)
    label = np.zeros((slices, 16, 20), np.uint8)
    label[2:6, 4:10, 4:12] = 1
    label[3:5, 5:8, 5:9] = 2
    image = np.array([0, 180, 90], np.float32)[label] + rng.normal(0, 20, label.shape)
    return np.rint(image).astype(np.float32), label


def write_case(folder: Path, image: Image, label: Labels) -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image.astype(np.float64), AFFINE), folder / "imaging.nii.gz")
    nib.save(nib.Nifti1Image(label, AFFINE), folder / "segmentation.nii.gz")
    return find_cases(folder)[0]


def recipe_of(cases: list[Case]) -> Recipe:
    return make_recipe([measure(case, KITS19) for case in cases], TrainConfig())


def test_fingerprint_equals_numpy_on_all_foreground_voxels(tmp_path: Path) -> None:
    pairs = [phantom(seed) for seed in range(3)]
    recipe = recipe_of([write_case(tmp_path / f"case_{i:05d}", *pair) for i, pair in enumerate(pairs)])
    foreground = np.concatenate([image[label > 0] for image, label in pairs]).astype(np.float64)
    low, high = np.percentile(foreground, (0.05, 99.5))
    assert recipe.clip_hu == pytest.approx((low, high), abs=1e-9)
    assert recipe.mean_hu == pytest.approx(foreground.clip(low, high).mean(), abs=1e-9)
    assert recipe.std_hu == pytest.approx(foreground.clip(low, high).std(), abs=1e-9)
    assert recipe.spacing_mm == pytest.approx((3.0, 1.5, 1.5))
    assert recipe.provenance["cases"] == "3"
    assert TrainConfig.from_json(recipe.provenance["config"]) == TrainConfig()


@pytest.mark.parametrize("q", [0, 0.05, 30, 50, 99.5, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_percentile_equals_numpy(q: float, count: int) -> None:
    values = np.random.default_rng(count).integers(-1024, 3000, count)
    histogram = foreground_histogram(values.astype(np.float32).reshape(1, 1, -1), np.ones((1, 1, count), np.uint8))
    assert percentile(histogram, q) == pytest.approx(np.percentile(values, q), abs=1e-9)


def test_moments_by_hand() -> None:
    """HU 0, 10, 10, 100 clipped to 0..40: mean 15, variance (225 + 25 + 25 + 625) / 4 = 225."""
    image = np.array([0, 10, 10, 100, 999], np.float32).reshape(1, 1, 5)
    label = np.array([1, 2, 1, 1, 0], np.uint8).reshape(1, 1, 5)
    assert clipped_moments(foreground_histogram(image, label), (0, 40)) == pytest.approx((15.0, 15.0))


def test_the_config_may_set_the_spacing(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case_00000", *phantom(0))
    assert make_recipe([measure(case, KITS19)], preset("demo")).spacing_mm == (4.0, 3.0, 3.0)


def test_data_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    image, label = phantom(0)
    with pytest.raises(GeometryError, match=r"shape \(7, 16, 20\) but the image has \(8, 16, 20\)"):
        measure(write_case(tmp_path / "case_00000", image, label[:-1]), KITS19)
    moved = write_case(tmp_path / "case_00004", image, label)
    nib.save(
        nib.Nifti1Image(label, np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE), tmp_path / "case_00004/segmentation.nii.gz"
    )
    with pytest.raises(GeometryError, match=r"affine .* but the image has .*; use the label that belongs to the image"):
        measure(moved, KITS19)
    with pytest.raises(LabelError, match="a label is 3, allowed: 0 to 2"):
        measure(write_case(tmp_path / "case_00001", image, label + 1), KITS19)
    with pytest.raises(InputError, match="the labels hold no foreground"):
        recipe_of([write_case(tmp_path / "case_00002", image, label * 0)])
    with pytest.raises(InputError, match="case_00003 has no label"):
        measure(replace(write_case(tmp_path / "case_00003", image, label), label=None), KITS19)


def test_the_cache_holds_the_standardised_case(tmp_path: Path) -> None:
    image, label = phantom(0)
    case = write_case(tmp_path / "case_00000", image, label)
    recipe = recipe_of([case])
    cached = cache_case(case, recipe, tmp_path / "cache", max_slices=200)
    wanted = (image.clip(*recipe.clip_hu) - recipe.mean_hu) / recipe.std_hu
    np.testing.assert_allclose(cached.image, wanted, atol=2e-3)
    np.testing.assert_array_equal(cached.label, label)
    for k in (1, 2):
        np.testing.assert_array_equal(cached.by_class[k - 1], np.flatnonzero(label == k))
    np.testing.assert_array_equal(cached.foreground, np.flatnonzero(label))


def test_the_cache_resamples(tmp_path: Path) -> None:
    image, label = phantom(0)
    case = write_case(tmp_path / "case_00000", image, label)
    recipe = replace(recipe_of([case]), spacing_mm=(1.5, 3.0, 3.0))
    cached = cache_case(case, recipe, tmp_path / "cache", max_slices=200)
    assert cached.shape == (16, 8, 10)
    assert set(np.unique(cached.label).tolist()) == {0, 1, 2}


def test_content_decides_what_is_made_again(tmp_path: Path) -> None:
    image, label = phantom(0)
    case = write_case(tmp_path / "case_00000", image, label)
    recipe = recipe_of([case])
    first = cache_case(case, recipe, tmp_path / "cache", max_slices=200)
    made = first.folder.stat().st_mtime_ns
    assert case.image is not None
    case.image.touch()
    assert cache_case(case, recipe, tmp_path / "cache", max_slices=200).folder.stat().st_mtime_ns == made
    others = [
        cache_case(case, replace(recipe, mean_hu=1.0), tmp_path / "cache", max_slices=200),
        cache_case(case, recipe, tmp_path / "cache", max_slices=6),
        cache_case(write_case(tmp_path / "case_00000", image + 1, label), recipe, tmp_path / "cache", max_slices=200),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 4
    assert [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")] == []


def test_hash_follows_both_files(tmp_path: Path) -> None:
    image, label = phantom(0)
    hashes = [content_hash(write_case(tmp_path / "case_00000", image, x)) for x in (label, label * 0)]
    assert len(set(hashes)) == 2


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case_00000", *phantom(0))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        cache_case(case, recipe_of([case]), tmp_path / "file" / "cache", max_slices=200)


@pytest.mark.parametrize(
    ("slices", "first", "last", "kept"),
    [
        (200, 0, 5, (0, 200)),
        (250, 10, 29, (0, 200)),
        (250, 220, 239, (50, 250)),
        (600, 300, 339, (220, 420)),
        (600, 100, 399, (100, 400)),
        (600, 100, 299, (100, 300)),
    ],
)
def test_long_cases_are_cut_around_the_foreground(slices: int, first: int, last: int, kept: tuple[int, int]) -> None:
    label = np.zeros((slices, 1, 2), np.uint8)
    label[first, 0, 0] = label[last, 0, 1] = 1
    assert slices_to_keep(label, 200) == slice(*kept)


def test_a_long_case_without_foreground_keeps_its_middle() -> None:
    assert slices_to_keep(np.zeros((300, 1, 1), np.uint8), 200) == slice(50, 250)


def test_the_papers_split() -> None:
    ids = [f"case_{i:05d}" for i in range(210)]
    split = split_cases(ids, holdout=0.3, seed=0)
    assert (len(split.train), len(split.validation)) == (147, 63)  # paper section 3.1
    assert sorted(split.train + split.validation) == ids
    assert split == split_cases(ids[::-1], holdout=0.3, seed=0) != split_cases(ids, holdout=0.3, seed=1)
    assert split_cases(ids[:1], holdout=0.9, seed=0).train == ("case_00000",)


def test_presets() -> None:
    paper = preset("paper")
    assert (paper.patch, paper.batch, paper.patients) == ((48, 48, 48), 39, 13)
    assert (paper.learning_rate, paper.plateau_factor, paper.plateau_patience) == (1e-3, 0.1, 20)
    assert (paper.max_epochs, paper.min_learning_rate, paper.focal_weight, paper.focal_gamma) == (300, 1e-8, 0.5, 2)
    assert (paper.clip_percentiles, paper.max_slices, paper.flip_axes) == ((0.05, 99.5), 200, "")
    second = paper.second()
    assert second is not None
    assert (second.patch, second.inference_patch, second.second_patch) == ((44, 44, 44), (44, 44, 44), None)
    for config in (paper, preset("demo")):
        assert TrainConfig.from_json(config.to_json()) == config
    with pytest.raises(
        InputError,
        match="preset is 'full', allowed: paper, demo, pretraining, shipped, any-hospital, kits23, kits23-regions,",
    ):
        preset("full")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch", 0),
        ("learning_rate", -1.0),
        ("max_steps", 0),
        ("holdout", 1.0),
        ("ema_decay", 1.0),
        ("clip_percentiles", (99.5, 0.5)),
        ("flip_axes", "w"),
        ("schedule", "step"),
        ("patch", (48, 48, 50)),
        ("inference_patch", (48, 48, 50)),
        ("margin", (24, 24, 24)),
        ("spacing_mm", (0.0, 1.0, 1.0)),
        ("plateau_factor", 2.0),
        ("focal_gamma", 0.5),
        ("dropout", 1.5),
    ],
)
def test_a_config_out_of_range_is_told(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"TrainConfig.{field} is .*allowed:"):
        replace(TrainConfig(), **{field: value})  # type: ignore[arg-type]


def test_an_unknown_field_is_told() -> None:
    with pytest.raises(InputError, match=r"unknown fields \['speed'\]"):
        TrainConfig.from_json('{"speed": 1}')
