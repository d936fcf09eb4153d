from __future__ import annotations

import numpy as np
import pytest

from evaluation.decisions.strata import stratify
from evaluation.decisions.summary import aggregate
from evaluation.report import Report, Row

KEYS = ("tumor_dice", "tumor_volume_error_ml", "lesion_truth")


def report(dice: list[float], errors: list[float] | None = None) -> Report:
    errors = errors or [0.0] * len(dice)
    rows = [
        Row(f"case_{number:05d}", {"tumor_dice": d, "tumor_volume_error_ml": e, "lesion_truth": 1.0})
        for number, (d, e) in enumerate(zip(dice, errors, strict=True))
    ]
    return Report("all", KEYS, "", rows, aggregate(rows, KEYS), [])


def known(*values: str) -> dict[str, str]:
    return {f"case_{number:05d}": value for number, value in enumerate(values)}


def test_each_stratum_has_its_own_summary() -> None:
    found = stratify(report([0.9, 0.5, 0.8, 0.4]), known("thin", "thick", "thin", "thick"), "slices")
    assert {name: list(cases) for name, cases in found.cases.items()} == {
        "thick": ["case_00001", "case_00003"], "thin": ["case_00000", "case_00002"],
    }  # fmt: skip
    assert found.summaries["thin"]["tumor_dice"].mean == pytest.approx(0.85)
    assert found.p["tumor_dice"] == pytest.approx(2 / 3, abs=0.04)  # two of six ways, two tests


def test_a_real_difference_of_many_cases_is_found_and_none_of_sign_alone() -> None:
    dice = [0.9 + n / 1000 for n in range(10)] + [0.5 + n / 1000 for n in range(10)]
    found = stratify(report(dice, [5.0] * 10 + [-5.0] * 10), known(*["A"] * 10, *["B"] * 10), "centre")
    assert found.p["tumor_dice"] < 0.01
    assert found.p["tumor_volume_error_ml"] == 1.0
    assert np.isnan(found.p["lesion_truth"])


@pytest.mark.parametrize(
    ("values", "edges", "strata"),
    [
        (("1", "3", "5", "10"), (), ["1", "3", "5", "10"]),
        (tuple("12345678"), (), ["<= 3.333", "3.333 to 5.667", "> 5.667"]),
        (("2", "4", "5", "9"), (4.0, 7.0), ["<= 4", "4 to 7", "> 7"]),
        (("1a", "3", "1b", ""), (), ["1a", "1b", "3", "unknown"]),
        (("true", "false"), (), ["false", "true"]),
    ],
)
def test_names_in_order(values: tuple[str, ...], edges: tuple[float, ...], strata: list[str]) -> None:
    found = stratify(report([0.5] * len(values)), known(*values), "column", edges)
    assert list(found.cases) == strata


def test_unknown_cases_are_told_and_not_tested() -> None:
    found = stratify(report([0.9, 0.9, 0.1]), known("A", "A"), "centre")
    assert list(found.cases) == ["A", "unknown"]
    assert np.isnan(found.p["tumor_dice"])
