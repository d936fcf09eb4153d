"""The run's table at the widths of terminals: no cell is cut, the least important columns go first."""

from __future__ import annotations

import io

import pytest

from kits_submit.batch.outcome import CaseResult
from kits_submit.labels import KITS19
from kits_submit.report.tables import case_table

RESULT = CaseResult(
    "case_00042", shape=(512, 512, 1059), spacing_mm=(0.781, 0.781, 5.0), orientation="IPL",
    volume_ml={"kidney": 324.1, "tumor": 1464.0}, seconds={"network": 61.2}, wall_seconds=70.1, peak_mb=2048.0,
)  # fmt: skip


def printed(result: CaseResult, width: int) -> list[str]:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=width, markup=False).print(case_table([result], KITS19, width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("width", "columns"), [(40, 3), (60, 5), (80, 6), (120, 9)])
def test_a_narrow_terminal_drops_the_least_important_columns(width, columns):
    lines = printed(RESULT, width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    heads = [head.strip() for head in lines[2].split("┃")[1:-1]]
    assert heads[0] == "case"
    assert {"kidney mL", "tumor mL"} <= set(heads)
    assert len(heads) == columns
    assert "324.1" in lines[4]


def test_a_name_with_notes_is_marked_and_a_long_one_folded():
    from dataclasses import replace

    lines = printed(replace(RESULT, case="n" * 70, notes=("odd",)), 60)
    assert "".join(line.split("│")[1].strip() for line in lines[4:] if line.startswith("│")) == "n" * 70 + " !"
    assert "! has notes: see run.json" in lines[-1]
