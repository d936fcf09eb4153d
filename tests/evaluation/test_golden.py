"""Equal to the official evaluators' results, on every row of the golden files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.cohort import score_pairs
from evaluation.kits import KITS23
from tests.evaluation.conftest import shared

DICE, SURFACE = 1e-9, 1e-6


def golden(name: str) -> Any:
    return json.loads(shared("golden", name).read_text())


def mask(release: str, case: str, name: str = "segmentation") -> Path:
    return shared("kits_labels", release, case, f"{name}.nii.gz")


def check_classes(scores: Any, expected: dict[str, list[float]]) -> None:
    for target in KITS23:
        dice, sd = expected[target.name]
        assert scores[f"{target.name}_dice"] == pytest.approx(dice, abs=DICE, rel=0)
        assert scores[f"{target.name}_sd"] == pytest.approx(sd, abs=SURFACE, rel=0)


def test_kits19_labels_as_predictions_of_kits23() -> None:
    rows = golden("kits19_labels_as_predictions_vs_kits23_labels.json")
    pairs = [(row["case"], mask("kits19", row["case"]), mask("kits23", row["case"])) for row in rows]
    report = score_pairs(pairs, "kits19", jobs=2)
    assert not report.issues
    for row, found in zip(rows, report.rows, strict=True):
        assert found.scores["tk_dice"] == pytest.approx(row["kits19_tk"], abs=DICE, rel=0), row["case"]
        assert found.scores["tu_dice"] == pytest.approx(row["kits19_tu"], abs=DICE, rel=0), row["case"]


def test_the_classes_of_kits23_on_kits19_labels() -> None:
    rows = [row for row in golden("kits19_labels_as_predictions_vs_kits23_labels.json") if "hec" in row]
    pairs = [(row["case"], mask("kits19", row["case"]), mask("kits23", row["case"])) for row in rows]
    for row, found in zip(rows, score_pairs(pairs, "kits23").rows, strict=True):
        check_classes(found.scores, row["hec"])


def test_the_classes_of_kits23_on_raters() -> None:
    for case, raters in golden("kits23_raters_vs_labels.json").items():
        pairs = [(rater, mask("kits23", case, rater), mask("kits23", case)) for rater in raters]
        for found in score_pairs(pairs, "kits23").rows:
            check_classes(found.scores, raters[found.case])


def test_official_compat_gives_the_same_where_there_is_no_trap() -> None:
    expected = golden("kits23_raters_vs_labels.json")["case_00021"]["rater_1"]
    pair = ("case_00021", mask("kits23", "case_00021", "rater_1"), mask("kits23", "case_00021"))
    check_classes(score_pairs([pair], "kits23", official_compat=True).rows[0].scores, expected)
