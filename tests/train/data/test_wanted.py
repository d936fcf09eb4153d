"""Who is trained on: KiTS19 as it is downloaded, ninety cases unlabelled; twins, windows, masks given as images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kits_submit.errors import InputError, OutputError, VolumeError
from tests.train.data.test_data import phantom, write_case
from tests.train.training import SMALL, Heard, write_cases
from train.compute.distributed import Workers
from train.config import TrainConfig
from train.data.dataset import Dataset, prepare_dataset
from train.data.fingerprint import CaseFacts, make_recipe
from train.data.needs import cache_bytes
from train.place import Place


def prepare(data: Path, heard: Heard | None = None, jobs: int = 1, **changes: object) -> Dataset:
    config = replace(SMALL, **changes)  # type: ignore[arg-type]
    place = Place(Workers(), torch.device("cpu"), heard or Heard(), jobs)
    return prepare_dataset(data, config, data.parent / "run", data.parent / "cache", place)


def test_cases_that_cannot_train_are_counted_and_left_out(tmp_path: Path) -> None:
    data, heard = write_cases(tmp_path / "data", 8), Heard()
    for number in (3, 4, 5, 6):
        (data / f"case_{number:05d}" / "segmentation.nii.gz").unlink()
    (data / "case_00007" / "imaging.nii.gz").unlink()
    (data / "case_00008").mkdir()
    assert sorted(prepare(data, heard).cases) == ["case_00000", "case_00001", "case_00002"]
    assert heard.lines[:3] == [
        "left out: 4 cases without a label (case_00003 to case_00006); 3 are labelled",
        "left out: 1 case with a label and no image (case_00007); 3 are labelled",
        "left out: 1 case with neither image nor label (case_00008); 3 are labelled",
    ]


def test_no_labelled_case_is_told(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data", 2)
    for label in data.rglob("segmentation.nii.gz"):
        label.unlink()
    with pytest.raises(InputError, match=r"nothing to train on: 2 cases without a label \(case_00000, case_00001\)"):
        prepare(data)


@pytest.mark.parametrize("anew", [False, True])
def test_one_scan_on_both_sides_of_the_split_is_refused(tmp_path: Path, anew: bool) -> None:
    """The same file, or the same voxels in another file."""
    data = write_cases(tmp_path / "data", 4)
    image, label = phantom(0)
    write_case(data / "case_00003", image, label)
    if anew:
        image[0, 0, 0] += 1  # no foreground: another file, the same kidney
        write_case(data / "case_00003", image, label)
    with pytest.raises(InputError, match="case_00000 and case_00003 are one scan, of which one would train"):
        prepare(data, holdout_cases=("case_00003",))
    heard = Heard()
    prepare(data, heard, holdout_cases=("case_00001",))
    assert "case_00000 and case_00003 are one scan" in heard.lines


def test_a_mask_given_as_image_is_a_bad_case_of_its_own(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data", 3)
    rng = np.random.default_rng(0)
    label = np.ones((12, 16, 20), np.uint8)
    write_case(data / "case_00003", rng.choice([-160, 240], label.shape), label)
    with pytest.raises(VolumeError, match=r"case_00003.*2 different values in all of the label \(-160, 240\)") as error:
        prepare(data)
    assert error.value.exit_code == 4
    assert len(prepare(data, skip_bad_cases=True).cases) == 3


def test_one_hu_in_nearly_all_of_the_foreground_is_told() -> None:
    histogram = np.zeros(36864, np.int64)
    histogram[[4000, 4100]] = (10**6, 1)
    with pytest.raises(InputError, match="nearly all of the labelled voxels have one HU, -96"):
        make_recipe([CaseFacts("a", "", (1, 1, 1), histogram)], TrainConfig())


def test_processes_prepare_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_cases(tmp_path / "data", 4)
    alone = prepare(data)
    kept = {path.relative_to(tmp_path / "cache"): path.read_bytes() for path in (tmp_path / "cache").rglob("*.npy")}
    (tmp_path / "cache").rename(tmp_path / "before")
    monkeypatch.setattr("train.data.needs._VOXELS_A_PROCESS", 1)
    together = prepare(data, jobs=2)
    assert together.recipe == alone.recipe
    assert {p.relative_to(tmp_path / "cache"): p.read_bytes() for p in (tmp_path / "cache").rglob("*.npy")} == kept


def test_a_cache_that_does_not_fit_its_disk_is_refused_before_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_cases(tmp_path / "data", 4)

    class Full:
        free = 1000

    monkeypatch.setattr("train.data.needs.shutil.disk_usage", lambda _: Full)
    with pytest.raises(OutputError, match=r"takes 0\.0 GB for 4 cases, 0\.0 GB are free; free some, or give --cache"):
        prepare(data)
    assert not list((tmp_path / "cache").glob("case_*"))


def test_the_room_foretold_is_the_room_taken(tmp_path: Path) -> None:
    dataset = prepare(write_cases(tmp_path / "data", 1), holdout=0)
    taken = sum(path.stat().st_size - 128 for path in (tmp_path / "cache").glob("case_*/*.npy"))  # less NumPy's headers
    image, label = phantom(0)
    facts = CaseFacts("a", "", (3.0, 1.5, 1.5), np.array([np.count_nonzero(label)]), shape=image.shape)
    assert cache_bytes(facts, dataset.recipe.spacing_mm, 200) == taken


def test_an_image_of_one_slice_is_a_bad_case(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data", 2)
    image, label = phantom(2)
    write_case(data / "case_00002", image[:1], label[3:4])
    with pytest.raises(VolumeError, match=r"case_00002.*the image has 1 slice along Z: no volume; get the whole scan"):
        prepare(data)


def test_a_disk_that_fills_in_the_middle_of_the_cache_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_cases(tmp_path / "data", 4)
    saved, written = np.save, []

    def fills(path: Path, array: np.ndarray) -> None:
        written.append(path)
        if len(written) == 7:  # the second array of the second case
            raise OSError(28, "No space left on device")
        saved(path, array)

    monkeypatch.setattr("train.data.cache.np.save", fills)
    with pytest.raises(OutputError, match=r"case_00001.*cannot be written \(No space left on device\)"):
        prepare(data)
    assert [path.name[:10] for path in (tmp_path / "cache").iterdir() if path.name != "facts"] == ["case_00000"]
    monkeypatch.undo()
    assert len(prepare(data).cached) == 4
