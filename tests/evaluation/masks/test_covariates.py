from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.masks.covariates import read_column
from kits_submit.errors import InputError


def test_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "about.csv"
    path.write_text("\ufeffcentre,case,slice thickness\nA, case_00001 ,0.5\nB,2,\n")
    assert read_column(f"{path}:centre") == ({"case_00001": "A", "case_00002": "B"}, "centre", ())
    assert read_column(f"{path}:slice thickness@1,3")[0] == {"case_00001": "0.5", "case_00002": ""}
    assert read_column(f"{path}:slice thickness@1,3")[2] == (1.0, 3.0)


def test_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "about.csv"
    path.write_text("patient;phase\ncase_00001;arterial, late\n")
    assert read_column(f"{path}:phase")[0] == {"case_00001": "arterial, late"}


def test_kits_json_and_its_short_names(tmp_path: Path) -> None:
    path = tmp_path / "kits.json"
    case = {"case_id": "case_00000", "malignant": True, "pathology_t_stage": "1a", "radiographic_size": 3.4}
    path.write_text(json.dumps([case | {"comorbidities": {"copd": False}, "voided_before": None}]))
    found = {column: read_column(f"{path}:{column}")[0]["case_00000"] for column in ("malignancy", "stage", "size")}
    assert found == {"malignancy": "true", "stage": "1a", "size": "3.4"}
    assert read_column(f"{path}:size")[2] == (4.0, 7.0)
    assert read_column(f"{path}:comorbidities.copd")[0] == {"case_00000": "false"}
    assert read_column(f"{path}:voided_before")[0] == {"case_00000": ""}


@pytest.mark.parametrize(
    ("text", "asked", "message"),
    [
        ("case,centre\n1,A\n", "center", "no column 'center'; use one of case, centre"),
        ("case,centre\n1,A\n1,B\n", "centre", "case_00001 is there twice"),
        ("case,centre\n", "centre", "no case in it"),
        ("case,centre\n1,A\n", "centre@x", "x are no numbers"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, text: str, asked: str, message: str) -> None:
    path = tmp_path / "about.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_column(f"{path}:{asked}")


@pytest.mark.parametrize("text", ["{}", "[1]", "no json"])
def test_json_that_is_no_list_of_cases(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kits.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"kits\.json"):
        read_column(f"{path}:size")


@pytest.mark.parametrize("asked", ["about.csv", ":centre", "about.csv:"])
def test_not_of_the_form(asked: str) -> None:
    with pytest.raises(InputError, match="say FILE:COLUMN"):
        read_column(asked)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_column(f"{tmp_path / 'none.csv'}:centre")
