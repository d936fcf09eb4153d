from __future__ import annotations

from pathlib import Path

import pytest

from kits_submit.errors import InputError
from kits_submit.files.cases import Case, case_id, find_cases, find_masks, prediction_name


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("case_00042", "case_00042"),
        ("case_42", "case_00042"),
        ("case_00042_0000", "case_00042"),
        ("imaging_00042", "case_00042"),
        ("prediction_00042", "case_00042"),
        ("segmentation_00042", "case_00042"),
        ("00042", "case_00042"),
        ("case_00042_seg", "case_00042"),
        ("case_00042_pred", "case_00042"),
        ("liver_7", "liver_7"),
        ("Ürsula scan", "Ürsula scan"),
        ("prediction_Ürsula scan", "Ürsula scan"),
    ],
)
def test_case_id_from_every_naming(name, expected):
    assert case_id(name) == expected


@pytest.mark.parametrize(
    ("files", "ids", "labelled"),
    [
        (["case_00001/imaging.nii.gz", "case_00001/segmentation.nii.gz", "case_00000/imaging.nii.gz"],
         ["case_00000", "case_00001"], ["case_00001"]),
        (["case_00001/imaging.nii.gz", "case_00001/aggregated_MAJ_seg.nii.gz"], ["case_00001"], ["case_00001"]),
        (["case_00003.nii.gz", "case_00004_0000.nii.gz"], ["case_00003", "case_00004"], []),
        (["imaging_00005.nii", "segmentation_00005.nii.gz"], ["case_00005"], ["case_00005"]),
        (["data/case_00007/imaging.nii.gz", "data/kits.json", "LICENSE"], ["case_00007"], []),
        (["my scan.nii.gz", "._my scan.nii.gz", "notes.txt"], ["my scan"], []),
        (["imaging.nii.gz", "segmentation.nii.gz"], ["input"], ["input"]),
    ],
)  # fmt: skip
def test_every_layout_is_found(tmp_path, files, ids, labelled):
    cases = find_cases(touch(tmp_path / "input", *files))
    assert [case.case_id for case in cases] == ids
    assert [case.case_id for case in cases if case.label] == labelled
    assert all(case.image and case.image.is_file() for case in cases)


def test_a_single_file_is_one_case(tmp_path):
    touch(tmp_path, "case_00009/imaging.nii.gz", "case_00009/segmentation.nii.gz", "x.nii.gz")
    folder = tmp_path / "case_00009"
    assert find_cases(folder / "imaging.nii.gz") == [
        Case("case_00009", folder / "imaging.nii.gz", folder / "segmentation.nii.gz", folder)
    ]
    assert find_cases(tmp_path / "x.nii.gz")[0].case_id == "x"


def test_a_case_folder_without_image_is_a_case_that_will_fail_alone(tmp_path):
    touch(tmp_path, "case_00000/imaging.nii.gz", "case_00001/segmentation.nii.gz", "case_00002/notes.txt")
    assert [(case.case_id, case.image is None) for case in find_cases(tmp_path)] == [
        ("case_00000", False),
        ("case_00001", True),
        ("case_00002", True),
    ]


def test_predictions_beside_images_are_no_cases(tmp_path):
    touch(tmp_path, "case_00000/imaging.nii.gz", "predictions/prediction_00000.nii.gz", "prediction_00000.nii.gz")
    assert [case.case_id for case in find_cases(tmp_path)] == ["case_00000"]


@pytest.mark.parametrize("find", [find_cases, find_masks])
def test_nothing_there_is_told_with_the_remedy(tmp_path, find):
    with pytest.raises(InputError, match="nowhere: no such file or folder; check the path"):
        find(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no (case|mask) found; expected .*case_00000"):
        find(tmp_path)
    with pytest.raises(InputError, match="not a NIfTI file name"):
        find(touch(tmp_path, "a.txt") / "a.txt")


def test_a_case_twice_is_refused(tmp_path):
    touch(tmp_path, "case_00001.nii.gz", "imaging_00001.nii.gz")
    with pytest.raises(InputError, match=r"case_00001 is there twice: case_00001\.nii\.gz and imaging_00001\.nii\.gz"):
        find_cases(tmp_path)
    touch(tmp_path / "masks", "prediction_00001.nii.gz", "case_1.nii.gz")
    with pytest.raises(InputError, match="case_00001 is there twice"):
        find_masks(tmp_path / "masks")


def test_masks_of_every_layout(tmp_path):
    touch(tmp_path / "a", "case_00001/segmentation.nii.gz", "case_00001/imaging.nii.gz", "case_00002/imaging.nii.gz")
    touch(tmp_path / "b", "prediction_00001.nii.gz", "imaging_00001.nii.gz", "run.json")
    touch(tmp_path / "c", "case_00001.nii.gz")
    for name in "abc":
        assert list(find_masks(tmp_path / name)) == ["case_00001"]
    assert find_masks(tmp_path / "b" / "prediction_00001.nii.gz") == {
        "case_00001": tmp_path / "b" / "prediction_00001.nii.gz"
    }


def test_a_prediction_is_found_again_under_its_case():
    for case in ("case_00042", "case_123456", "liver_7", "case_A01"):
        assert case_id(prediction_name(case).removesuffix(".nii.gz")) == case


def test_a_flat_label_is_found_for_a_single_image_and_before_an_image_of_the_bare_name(tmp_path):
    touch(tmp_path, "case_00005.nii.gz", "segmentation_00005.nii.gz")
    assert find_cases(tmp_path / "case_00005.nii.gz")[0].label == tmp_path / "segmentation_00005.nii.gz"
    assert find_masks(tmp_path) == {"case_00005": tmp_path / "segmentation_00005.nii.gz"}


def test_a_link_to_nowhere_is_a_case_that_will_fail_alone(tmp_path):
    touch(tmp_path, "case_00001.nii.gz")
    (tmp_path / "case_00002.nii.gz").symlink_to("missing")
    assert [case.case_id for case in find_cases(tmp_path)] == ["case_00001", "case_00002"]


@pytest.mark.parametrize("name", ["segmentation.nii.gz", "aggregated_MAJ_seg.nii.gz", "prediction.mha"])
def test_a_folder_of_a_mask_alone_is_no_case(tmp_path, name):
    with pytest.raises(InputError, match="no case found"):
        find_cases(touch(tmp_path, name))


@pytest.mark.parametrize(
    ("file", "case"),
    [
        ("case_00004_seg.nii.gz", "case_00004"),
        ("case_00004_pred.nii.gz", "case_00004"),
        ("images/kidney-tumor-and-cyst/case_00004.mha", "case_00004"),
        ("images/kidney-tumor-and-cyst/1.2.840.mha", "1.2.840"),
    ],
)
def test_masks_of_other_writers_are_found(tmp_path, file, case):
    assert find_masks(touch(tmp_path, file)) == {case: tmp_path / file}


def test_a_mask_beside_its_image_is_its_label_and_no_case(tmp_path):
    touch(tmp_path, "case_00004.nii.gz", "case_00004_seg.nii.gz", "case_00005.nii.gz", "case_00005_pred.nii.gz")
    assert [(case.case_id, case.label is not None) for case in find_cases(tmp_path)] == [
        ("case_00004", True), ("case_00005", False),
    ]  # fmt: skip
