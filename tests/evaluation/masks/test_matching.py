from __future__ import annotations

import errno
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.masks.matching import match, unzipped
from kits_submit.errors import InputError, OutputError
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
        (
            ("case_00001.nii.gz",),
            ("case_00002.nii.gz",),
            "no case in common: predictions have case_00001, labels case_00002",
        ),
    ],
    ids=["empty predictions", "empty labels", "nothing in common"],
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


def test_a_folder_matches_itself(tmp_path: Path) -> None:
    mask = touch(tmp_path / "case_00001.nii.gz")
    assert match(tmp_path, tmp_path) == [("case_00001", mask, mask)]


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
    source = zipped(tmp_path, member, "__MACOSX/._prediction_00003.nii.gz", "readme.txt")
    with unzipped(source) as (folder, unusable):
        assert not unusable
        ((case, ours, truth),) = match(folder, theirs.parent)
        assert case == "case_00003"
        assert truth == theirs
        assert isinstance(ours, Path)
        assert ours.is_relative_to(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: zipped(folder, "readme.txt"), "no mask in the zip file"),
        (lambda folder: cut(zipped(folder, "prediction_00001.nii.gz")), "not a readable zip file"),
    ],
    ids=["no mask", "truncated"],
)
def test_zip_files_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError, match=message), unzipped(make(tmp_path)):
        pass


@pytest.mark.parametrize("side", ["p", "l"])
def test_a_case_that_is_there_twice_fails_alone(tmp_path: Path, side: str) -> None:
    for name in ("p/case_00001.nii.gz", "p/case_00002.nii.gz", "l/case_00001.nii.gz", "l/case_00002.nii.gz"):
        touch(tmp_path / name)
    for name in ("prediction_00001.nii.gz", "case_00001/segmentation.nii.gz"):
        touch(tmp_path / side / name)
    (first, *sides), (_, *others) = match(tmp_path / "p", tmp_path / "l")
    twice = sides["pl".index(side)]
    assert isinstance(twice, InputError)
    assert f"{first} is there 3 times: " in str(twice)
    for name in ("case_00001.nii.gz", "prediction_00001.nii.gz", "segmentation.nii.gz"):
        assert name in str(twice)
    assert all(isinstance(file, Path) for file in others)


def test_entries_that_cannot_be_unpacked_fail_alone(tmp_path: Path) -> None:
    """Of four entries the second is damaged, the third there twice."""
    names = [f"{folder}prediction_0000{n}.nii.gz" for folder, n in (("", 1), ("", 2), ("a/", 3), ("b/", 3), ("", 4))]
    source = zipped(tmp_path, *names)
    with zipfile.ZipFile(source) as archive:
        second = archive.infolist()[1]
    content = bytearray(source.read_bytes())
    content[second.header_offset + 30 + len(second.filename) + 40] ^= 0xFF
    source.write_bytes(content)
    for number in range(1, 5):
        touch(tmp_path / "labels" / f"case_0000{number}.nii.gz")
    with unzipped(source) as (folder, unusable):
        pairs = match(folder, tmp_path / "labels", unusable)
    told = {case: str(ours) for case, ours, _ in pairs if isinstance(ours, InputError)}
    assert list(told) == ["case_00002", "case_00003"]
    assert "predictions.zip: prediction_00002.nii.gz cannot be unpacked (Bad CRC-32" in told["case_00002"]
    assert "predictions.zip: prediction_00003.nii.gz is in the zip file twice" in told["case_00003"]


def test_a_zip_file_without_a_whole_entry(tmp_path: Path) -> None:
    source = zipped(tmp_path, "a/prediction_00003.nii.gz", "b/prediction_00003.nii.gz")
    touch(tmp_path / "labels" / "case_00003.nii.gz")
    with unzipped(source) as (folder, unusable):
        ((_, ours, _),) = match(folder, tmp_path / "labels", unusable)
    assert isinstance(ours, InputError)


def test_no_space_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = zipped(tmp_path, "prediction_1.nii.gz")
    monkeypatch.setattr("evaluation.masks.matching.shutil.copyfileobj", full)
    with pytest.raises(OutputError, match="No space left on device"), unzipped(source):
        pass


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path
