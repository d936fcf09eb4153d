"""Every layout that is read and written, each a row of docs/layouts.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kits_submit.errors import InputError
from kits_submit.files.cases import find_cases
from tests.conftest import ROOT

KITS, SOURCE = False, True
# (files of INPUT, what is given as INPUT, case, its label map, names as the source has them?, the mask below OUTPUT)
LAYOUTS = [
    ("case_00042/imaging.nii.gz case_00042/segmentation.nii.gz", "", "case_00042", "case_00042/segmentation.nii.gz",
     KITS, "prediction_00042.nii.gz"),
    ("case_00042/imaging.nii.gz case_00042/aggregated_MAJ_seg.nii.gz", "", "case_00042",
     "case_00042/aggregated_MAJ_seg.nii.gz", KITS, "prediction_00042.nii.gz"),
    ("case_00042/imaging.nii.gz", "case_00042", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("case_00042/imaging.nii.gz", "case_00042/imaging.nii.gz", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("data/case_00042/imaging.nii.gz", "", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("dataset/case_00042/imaging.nii.gz", "", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("imaging_00042.nii.gz segmentation_00042.nii.gz", "", "case_00042", "segmentation_00042.nii.gz", KITS,
     "prediction_00042.nii.gz"),
    ("case_00042.nii.gz", "", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("case_42.nii", "", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("case_00042.NII.GZ", "", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("42.nii.gz", "", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("liver_7.nii.gz", "", "liver_7", "", KITS, "prediction_liver_7.nii.gz"),
    ("liver_7.nii.gz", "liver_7.nii.gz", "liver_7", "", KITS, "prediction_liver_7.nii.gz"),
    ("case_00042_0000.nii.gz", "", "case_00042", "", KITS, "prediction_00042.nii.gz"),
    ("liver_7_0000.nii.gz", "", "liver_7", "", KITS, "prediction_liver_7.nii.gz"),
    ("imagesTr/kits_00005_0000.nii.gz labelsTr/kits_00005.nii.gz", "imagesTr", "kits_00005",
     "labelsTr/kits_00005.nii.gz", KITS, "prediction_kits_00005.nii.gz"),
    ("imagesTr/kits_00005_0000.nii.gz labelsTr/kits_00005.nii.gz", "", "kits_00005", "labelsTr/kits_00005.nii.gz",
     SOURCE, "kits_00005.nii.gz"),
    ("imagesTs/kits_00005_0000.nii.gz", "", "kits_00005", "", SOURCE, "kits_00005.nii.gz"),
    ("case_00042/imaging.nii.gz", "", "case_00042", "", SOURCE, "case_00042.nii.gz"),
    ("scan.mha", "", "scan", "", KITS, "prediction_scan.mha"),
    ("scan.MHA", "", "scan", "", SOURCE, "scan.mha"),
    ("images/ct/u-u-i-d.mha", "", "u-u-i-d", "", KITS, "images/kidney-tumor-and-cyst/u-u-i-d.mha"),
    ("images/kidney-ct/u-u-i-d.mha", "", "u-u-i-d", "", KITS, "images/kidney-tumor-and-cyst/u-u-i-d.mha"),
    ("images/ct/a.mha images/mr/b.mha", "", "a", "", KITS, "images/kidney-tumor-and-cyst/a.mha"),
]  # fmt: skip


def rows() -> list[str]:
    named = {KITS: "", SOURCE: "`--names source`"}
    return [
        f"| `{files.replace(' ', '`, `')}` | {f'`{given}`' if given else 'the folder'} | `{case}` "
        f"| {f'`{label}`' if label else ''} | `{target}` | {named[keeps]} |"
        for files, given, case, label, keeps, target in LAYOUTS
    ]


@pytest.mark.parametrize("row", LAYOUTS, ids=range(len(LAYOUTS)))
def test_a_layout(tmp_path, row):
    files, given, case, label, keeps, target = row
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (found,) = find_cases(tmp_path / given)
    assert (found.case_id, found.label) == (case, tmp_path / label if label else None)
    assert replace(found, keeps_name=keeps).target == Path(target)


def test_the_documents_table_has_each():
    lines = (ROOT / "docs" / "layouts.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| `")] == rows()


def test_images_that_lie_deeper_are_named(tmp_path):
    for name in ("x/y/case_00001/imaging.nii.gz", "x/y/case_00002/imaging.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"images are in x/y/case_00001 \(1\), x/y/case_00002 \(1\): give the folder"):
        find_cases(tmp_path)


def test_several_folders_of_a_challenge_are_named(tmp_path):
    for name in ("images/mr", "images/pet"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"several folders \(mr, pet\); give one.*images/ct"):
        find_cases(tmp_path)


def test_a_numbered_series_is_no_set_of_channels(tmp_path):
    for number in range(3):
        (tmp_path / f"scan_{number:04d}.nii.gz").touch()
    assert [case.case_id for case in find_cases(tmp_path)] == ["scan", "scan_0001", "scan_0002"]


def test_two_of_one_case_are_named_with_their_folders(tmp_path):
    for name in ("case_1/imaging.nii.gz", "case_00001/imaging.nii.gz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    told = r"case_00001 is there twice: case_00001/imaging.nii.gz and case_1/imaging.nii.gz; keep one"
    with pytest.raises(InputError, match=told):
        find_cases(tmp_path)
