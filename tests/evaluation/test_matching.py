from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.matching import match, unzipped
from kits_submit.errors import InputError
from tests.conftest import save

LABELS = np.zeros((2, 3, 4), np.uint8)


def touch(path: Path) -> Path:
    return save(path, LABELS)


@pytest.mark.parametrize(
    "name", ["prediction_00003.nii.gz", "case_00003.nii.gz", "case_00003/segmentation.nii.gz", "case_3/prediction.nii"]
)
def test_cases_are_matched_by_number_over_namings(tmp_path: Path, name: str) -> None:
    ours, theirs = touch(tmp_path / "p" / name), touch(tmp_path / "l" / "case_00003" / "segmentation.nii.gz")
    assert match(tmp_path / "p", tmp_path / "l") == [("case_00003", ours, theirs)]


def test_missing_and_extra_cases_stay_in(tmp_path: Path) -> None:
    for number in (1, 2):
        touch(tmp_path / "p" / f"prediction_0000{number}.nii.gz")
        touch(tmp_path / "l" / f"case_0000{number + 1}.nii.gz")
    found = match(tmp_path / "p", tmp_path / "l")
    assert [(case, ours is None, theirs is None) for case, ours, theirs in found] == [
        ("case_00001", False, True), ("case_00002", False, False), ("case_00003", True, False),
    ]  # fmt: skip


def test_two_files_are_one_case_whatever_their_names(tmp_path: Path) -> None:
    ours, theirs = touch(tmp_path / "mine.nii.gz"), touch(tmp_path / "case_00003" / "segmentation.nii.gz")
    assert match(ours, theirs) == [("case_00003", ours, theirs)]


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ((), ("case_00001.nii.gz",), "no mask found"),
        (("case_00001.nii.gz",), (), "no mask found"),
        (("case_00001.nii.gz", "prediction_00001.nii.gz"), ("case_00001.nii.gz",), "case_00001 is there twice"),
        (
            ("case_00001.nii.gz",),
            ("case_00002.nii.gz",),
            "no case in common: predictions have case_00001, labels case_00002",
        ),
    ],
    ids=["empty predictions", "empty labels", "duplicate", "nothing in common"],
)
def test_folders_that_cannot_be_matched(
    tmp_path: Path, predictions: tuple[str, ...], labels: tuple[str, ...], message: str
) -> None:
    for folder, names in (("p", predictions), ("l", labels)):
        (tmp_path / folder).mkdir()
        for name in names:
            touch(tmp_path / folder / name)
    with pytest.raises(InputError, match=message):
        match(tmp_path / "p", tmp_path / "l")


def test_a_folder_given_twice(tmp_path: Path) -> None:
    touch(tmp_path / "case_00001.nii.gz")
    with pytest.raises(InputError, match="given twice, as predictions and as labels"):
        match(tmp_path, tmp_path / "." / "..") if tmp_path.name == ".." else match(tmp_path, tmp_path)


def zipped(folder: Path, *members: str) -> Path:
    mask = touch(folder / "mask.nii.gz")
    with zipfile.ZipFile(folder / "predictions.zip", "w") as archive:
        for member in members:
            archive.write(mask, member)
    return folder / "predictions.zip"


@pytest.mark.parametrize(
    "member",
    [
        "prediction_00003.nii.gz",
        "a/b/prediction_00003.nii.gz",
        "case_00003/segmentation.nii.gz",
        "../prediction_00003.nii.gz",
    ],
)
def test_a_zip_file_is_a_folder(tmp_path: Path, member: str) -> None:
    theirs = touch(tmp_path / "labels" / "case_00003.nii.gz")
    with unzipped(zipped(tmp_path, member, "__MACOSX/._prediction_00003.nii.gz", "readme.txt")) as folder:
        ((case, ours, truth),) = match(folder, theirs.parent)
        assert case == "case_00003"
        assert truth == theirs
        assert ours is not None
        assert ours.is_relative_to(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: zipped(folder, "readme.txt"), "no mask in the zip file"),
        (
            lambda folder: zipped(folder, "a/prediction_00001.nii.gz", "b/prediction_00001.nii.gz"),
            "is in the zip file twice",
        ),
        (lambda folder: cut(zipped(folder, "prediction_00001.nii.gz")), "not a readable zip file"),
    ],
    ids=["no mask", "twice", "truncated"],
)
def test_zip_files_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError, match=message), unzipped(make(tmp_path)):
        pass


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path
