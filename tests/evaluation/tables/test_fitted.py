from __future__ import annotations

import re

import pytest

from evaluation.tables.fitted import Fitted
from tests.evaluation.conftest import text_of

NUMBERS = [[f"case_{n:05d}", *(f"{n / 7 + c:.4f}" for c in range(9))] for n in range(3)]
HEADER = ["case", *(f"measure{c}" for c in range(9))]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_value_is_cut_and_no_line_is_too_long(width: int) -> None:
    text = text_of(Fitted(HEADER, NUMBERS), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert sorted(re.findall(r"\d+\.\d+", text)) == sorted(cell for line in NUMBERS for cell in line[1:])
    assert sorted(set(re.findall(r"case_\d+", text))) == [line[0] for line in NUMBERS]


def test_columns_without_room_move_below_in_their_order() -> None:
    """Case takes 10 of 40; each measure 8 and a gap of 2: three a block."""
    assert Fitted(HEADER, NUMBERS).blocks(40) == [[0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 9]]
    assert Fitted(HEADER, NUMBERS).blocks(100) == [list(range(10))]


def test_the_least_important_go_first_and_are_named() -> None:
    """Of 10 + 3 * 10 columns 40 fit; at 39 the last of the spare ones goes, at 20 both."""
    table = Fitted(HEADER[:4], [line[:4] for line in NUMBERS], spare=("measure2", "measure1"))
    assert table.gone(40) == []
    assert table.gone(39) == ["measure1"]
    assert table.gone(20) == ["measure1", "measure2"]
    assert "no room for measure1, measure2" in " ".join(text_of(table, 22).split())


def test_long_names_are_folded_and_never_cut_to_the_same_text() -> None:
    names = [f"experiment_with_a_long_name_fold{n}" for n in (0, 1)]
    text = text_of(Fitted(("submission", "rank", "Dice"), [[name, "1", "0.5000"] for name in names]), 30)
    joined = "".join(line[:15].strip() for line in text.splitlines())
    assert all(name in joined for name in names)
    assert max(map(len, text.splitlines())) <= 30


def test_a_value_wider_than_the_room_breaks_between_words() -> None:
    text = text_of(Fitted(("measure", "worst"), [["tumor Dice", "case_00001 0.1234"]]), 24)
    assert "case_00001" in text
    assert "0.1234" in text
