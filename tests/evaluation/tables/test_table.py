from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.cohort import score_pairs
from evaluation.decisions.compare import compare
from evaluation.decisions.rank import rank
from evaluation.decisions.summary import aggregate
from evaluation.kits import PROTOCOLS
from evaluation.masks.matching import match
from evaluation.report import Issue, Report, Row
from evaluation.tables.comparison import comparison_document, comparison_markdown, render_comparison
from evaluation.tables.layout import label, markdown_table, shown
from evaluation.tables.ranking import ranking_document, ranking_markdown, render_ranking
from evaluation.tables.table import as_document, as_markdown, render, write_csv, write_json, write_markdown
from kits_submit.errors import OutputError
from tests.evaluation.conftest import kidney_with_tumor, text_of

LABELS = kidney_with_tumor()


def report_of(protocol: str = "kits19", tumor: tuple[float, ...] = (0.9, 0.2, 0.8, 0.7), failed: bool = True) -> Report:
    """A case for each number (of every key), and one that failed."""
    keys = PROTOCOLS[protocol].keys
    rows = [Row(f"case_{number:05d}", dict.fromkeys(keys, value)) for number, value in enumerate(tumor)]
    issues = []
    if failed:
        issues = [Issue("case_00099", "VolumeError", "case_00099: cut", 4)]
        rows.append(Row("case_00099", error=issues[0]))
    return Report(protocol, keys, PROTOCOLS[protocol].policy, rows, aggregate(rows, keys), issues)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_terminal_table_fits_100_columns_and_cuts_nothing_off(protocol: str) -> None:
    text = text_of(render(report_of(protocol, (0.9, 0.2, 0.8, 0.3))))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_worst_values_are_marked_and_failures_shown() -> None:
    lines = {line.split()[0]: line for line in text_of(render(report_of())).splitlines() if line.startswith("case_")}
    assert lines["case_00001"].split() == ["case_00001", "0.2000<", "0.2000<", "0.2000<"]
    assert "<" not in lines["case_00000"]
    assert lines["case_00099"].split() == ["case_00099", "error", "-", "-"]


def test_of_many_cases_only_the_worst_and_the_failed_are_shown() -> None:
    text = text_of(render(report_of(tumor=tuple(np.linspace(0, 1, 100)))))
    assert [line.split()[0] for line in text.splitlines() if line.startswith("case_")] == [
        "case_00000", "case_00001", "case_00002", "case_00003", "case_00004", "case_00099",
    ]  # fmt: skip
    assert "95 better cases not shown" in text


def test_json_has_null_for_nan_and_the_error_of_a_failed_case(tmp_path: Path) -> None:
    report = report_of(tumor=(0.5, float("nan")))
    write_json(report, tmp_path / "a" / "scores.json")
    document = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert document == as_document(report)
    assert document["protocol"] == "kits19"
    assert document["cases"] == [
        {"case": "case_00000", "tk_dice": 0.5, "tu_dice": 0.5, "composite": 0.5},
        {"case": "case_00001", "tk_dice": None, "tu_dice": None, "composite": None},
        {"case": "case_00099", "tk_dice": None, "tu_dice": None, "composite": None,
         "error": "case_00099: cut", "kind": "VolumeError", "exit_code": 4},
    ]  # fmt: skip
    assert document["aggregate"]["tu_dice"]["mean"] == 0.5
    assert document["aggregate"]["tu_dice"]["worst"] == [{"case": "case_00000", "value": 0.5}]
    assert document["issues"] == [
        {"case": "case_00099", "kind": "VolumeError", "message": "case_00099: cut", "exit_code": 4}
    ]
    assert document["exit_code"] == 4


def test_csv_has_a_row_a_case_with_the_same_keys(tmp_path: Path) -> None:
    write_csv(report_of(tumor=(1 / 3, float("nan"))), tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == ["case_00000", "case_00001", "case_00099"]
    assert float(rows[0]["tu_dice"]) == 1 / 3
    assert rows[1]["tu_dice"] == ""
    assert rows[2]["error"] == "case_00099: cut"


def test_markdown_is_ready_to_paste(tmp_path: Path) -> None:
    write_markdown(report_of(), tmp_path / "scores.md")
    text = (tmp_path / "scores.md").read_text()
    assert text == as_markdown(report_of())
    assert "| case_00001 | **0.2000** | **0.2000** | **0.2000** |" in text
    assert "| case_00099 |      error |          - |          - |" in text
    assert text.endswith("- case_00099: cut\n")


def test_a_table_without_a_scored_case() -> None:
    report = report_of(tumor=())
    assert "kits19: 0 cases, 1 failed" in text_of(render(report))
    assert "| case_00099 |" in as_markdown(report)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(report_of(), tmp_path / "file" / "scores.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_the_empty_mask_policy_touched_is_counted() -> None:
    rows = [
        Row("a", {"tu_dice": 1.0}, {"tu": "both"}), Row("b", {"tu_dice": 0.0}, {"tu": "truth", "tk": "prediction"}),
        Row("c", {"tu_dice": 0.0}, {"tu": "truth"}), Row("d", {"tu_dice": 0.5}),
    ]  # fmt: skip
    report = Report("kits19", ("tu_dice",), "policy", rows, aggregate(rows, ("tu_dice",)), [])
    expected = [
        "tu: empty on both sides in 1, in the truth alone in 2 of 4 cases",
        "tk: empty in the prediction alone in 1 of 4 cases",
    ]
    assert report.empties == expected
    for text in (text_of(render(report)), as_markdown(report)):
        assert all(line in text for line in expected)


def test_markdown_tables_are_aligned_and_escape_pipes() -> None:
    assert markdown_table(("a", "b"), [("x|y", "1")]) == "| a    |   b |\n| ---- | --: |\n| x\\|y |   1 |\n"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("tumor_dice", 0.123456, "0.1235"), ("tumor_hd95_mm", 12.345, "12.35"), ("tumor_volume_error_ml", 1.25, "+1.2"),
        ("lesion_truth", 3.0, "3"), ("tumor_sd", float("nan"), "-"), ("tumor_sd", None, "-"),
    ],
)  # fmt: skip
def test_values_are_shown_in_the_digits_that_tell(key: str, value: float | None, text: str) -> None:
    assert shown(key, value) == text


def test_labels() -> None:
    assert label("kidney_and_mass_hd95_mm") == "kidney+mass HD95 mm"
    assert label("lesion_sensitivity_t1a") == "lesion sensitivity t1a"


def runs(folders: Callable[..., tuple[Path, Path]], *shifts: int) -> list[Report]:
    """A run for each shift: three cases, moved along x by so many voxels, the last case never."""
    reports = []
    for shift in shifts:
        predictions = {number: np.roll(LABELS, shift if number < 2 else 0, axis=2) for number in range(3)}
        reports.append(score_pairs(match(*folders(predictions, dict.fromkeys(range(3), LABELS))), "kits23"))
    return reports


def test_compare_pairs_cases_by_name(folders: Callable[..., tuple[Path, Path]]) -> None:
    far, near = runs(folders, 2, 1)
    comparison = compare(far, near, ("far", "near"))
    change = comparison.changes["tumor_dice"]
    assert (change.n, change.better, change.worse) == (3, 2, 0)
    expected = [near.rows[i].scores["tumor_dice"] - far.rows[i].scores["tumor_dice"] for i in range(3)]
    assert [case["tumor_dice"] for case in comparison_document(comparison)["cases"]] == pytest.approx(expected)
    assert change.difference == pytest.approx(np.mean(expected))
    assert change.p == pytest.approx(0.5)  # of the four signs of two ranks, two are as far from the middle
    assert change.verdict == "-"
    assert [case for case, *_ in change.most_changed] == ["case_00000", "case_00001"]
    for text in (text_of(render_comparison(comparison)), comparison_markdown(comparison)):
        assert "3 cases: A = far, B = near" in text
        assert "…" not in text


def test_a_clear_difference_has_a_verdict() -> None:
    a, b = report_of(tumor=tuple(np.linspace(0.5, 0.6, 20))), report_of(tumor=tuple(np.linspace(0.55, 0.7, 20)))
    comparison = compare(a, b, ("a", "b"))
    assert {change.verdict for change in comparison.changes.values()} == {"B better"}
    assert {change.verdict for change in compare(b, a, ("b", "a")).changes.values()} == {"A better"}
    assert comparison.left_out == ["case_00099"]


def test_rank_by_hand(folders: Callable[..., tuple[Path, Path]]) -> None:
    far, near, same = runs(folders, 2, 1, 1)
    ranking = rank({"far": far, "near": near, "same": same})
    assert [(place.name, place.rank) for place in ranking.places] == [("near", 1), ("same", 1), ("far", 3)]
    far_place = ranking.places[-1]
    # Only a draw of the third case alone, 1 in 27, puts all three together at the first rank.
    assert far_place.first == pytest.approx(1 / 27, abs=0.01)
    assert far_place.same == pytest.approx(26 / 27, abs=0.01)
    assert ranking_document(ranking)["ranking"][0]["name"] == "near"
    for text in (text_of(render_ranking(ranking)), ranking_markdown(ranking)):
        assert "over 3 cases" in text
        assert "…" not in text
