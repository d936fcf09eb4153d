"""What a run tells those who watch many."""

from __future__ import annotations

import json

import pytest

from kits_submit.batch.outcome import CaseResult
from kits_submit.errors import OutputError
from kits_submit.report.metrics import CaseLog, Metrics


def test_numbers_are_those_of_the_cases(tmp_path):
    told = Metrics(tmp_path / "kits.prom", cases=10, kept=3)
    for status in ("done", "done", "failed"):
        told.case_ended(CaseResult("case", status))
    lines = told.text(seconds=6.0).splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values == {
        'kits_cases_total{status="done"}': "2", 'kits_cases_total{status="failed"}': "1",
        'kits_cases_total{status="background"}': "0", "kits_cases_kept": "3", "kits_cases_left": "7",
        "kits_cases_per_second": "0.5", "kits_seconds_left": "14",
    }  # fmt: skip
    assert all(f"# TYPE {name.partition('{')[0]} " in "\n".join(lines) for name in values)
    assert "kits_seconds_left NaN" in Metrics(tmp_path / "kits.prom", 5, 0).text(0.0)


def test_the_file_is_whole_at_the_end_and_at_the_start(tmp_path):
    path = tmp_path / "kits.prom"
    told = Metrics(path, cases=2, kept=0)
    assert "kits_cases_left 2\n" in path.read_text()
    told.case_ended(CaseResult("a"))
    told.case_ended(CaseResult("b"))
    assert "kits_cases_left 0\n" in path.read_text()
    Metrics(tmp_path / "kits.prom" / "no" / "folder", cases=1, kept=0)


def test_a_line_a_case(tmp_path):
    log = CaseLog(tmp_path / "cases.jsonl")
    for case in ("a", "b\ud800"):
        log.case_ended(CaseResult(case, wall_seconds=float("nan")))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "cases.jsonl").read_text().splitlines()]
    assert [line["case"] for line in lines] == ["a", "b\ud800"]
    assert lines[0]["wall_seconds"] is None
    with pytest.raises(OutputError, match="cannot be written"):
        CaseLog(tmp_path / "none" / "cases.jsonl")
