from __future__ import annotations

import numpy as np
import pytest

from evaluation.decisions.rank import competition_ranks, kendall_tau, kits_ranks, rank
from evaluation.decisions.summary import aggregate
from evaluation.kits import PROTOCOLS
from evaluation.report import Report, Row
from kits_submit.errors import InputError

KEYS = PROTOCOLS["kits23"].keys


def submission(values: list[float]) -> Report:
    """A case a value, which all keys have."""
    rows = [Row(f"case_{number:05d}", dict.fromkeys(KEYS, value)) for number, value in enumerate(values)]
    return Report("kits23", KEYS, "", rows, aggregate(rows, KEYS), [])


def test_ranks_by_hand() -> None:
    assert competition_ranks(np.array([0.8, 0.9, 0.7, 0.8])).tolist() == [2, 1, 4, 2]


def test_the_kits_rank_by_hand() -> None:
    """Dice ranks 1 2 3, SD ranks 2 1 3: the first two tie at 1.5 and tumor Dice puts the second first."""
    dice, sd, tumor = np.array([0.9, 0.8, 0.7]), np.array([0.6, 0.7, 0.5]), np.array([0.4, 0.5, 0.9])
    assert kits_ranks(dice, sd, tumor).tolist() == [2, 1, 3]
    assert kits_ranks(dice, sd, np.zeros(3)).tolist() == [1, 1, 3]
    assert kits_ranks(np.stack([dice, dice[::-1]]), np.stack([sd, sd]), tumor).tolist() == [[2, 1, 3], [3, 1, 2]]


def test_means_that_differ_in_the_last_bits_tie_as_in_the_official_code() -> None:
    """0.1 + 0.2 and 0.3 differ by 6e-17, and KiTS23's evaluation.csv has eight decimals."""
    places = rank({"a": submission([0.1 + 0.2, 0.5]), "b": submission([0.3, 0.5 + 4e-9])}).places
    assert [place.rank for place in places] == [1, 1]
    places = rank({"a": submission([0.3, 0.5]), "b": submission([0.3, 0.5 + 4e-8])}).places
    assert [(place.name, place.rank) for place in places] == [("b", 1), ("a", 2)]


def test_one_case_says_nothing_of_others() -> None:
    ranking = rank({"a": submission([0.9]), "b": submission([0.8])})
    assert [(place.rank, place.rank95, place.first, place.same) for place in ranking.places] == [
        (1, None, None, None), (2, None, None, None),
    ]  # fmt: skip
    assert (ranking.tau, ranking.tau95) == (None, None)
    assert ranking.duels[0].won_by("a") == ()


def test_kendalls_tau_by_hand() -> None:
    """1 2 3 with 2 1 3: two of three pairs agree, one does not; with all of one rank there is none."""
    one = np.array([1, 2, 3])
    others = np.array([[1, 2, 3], [2, 1, 3], [3, 2, 1], [1, 1, 1], [1, 1, 3]])
    expected = [1.0, 1 / 3, -1.0, np.nan, 2 / np.sqrt(3 * 2)]
    assert kendall_tau(one, others) == pytest.approx(expected, nan_ok=True)


def test_the_significance_map_is_that_of_pairs() -> None:
    """Far apart in all of twelve cases, and two that differ by a hair in either way."""
    steps = np.linspace(0, 0.1, 12)
    hair = np.where(np.arange(12) % 2, 0.001, -0.001)
    runs = {"good": 0.85 + steps, "bad": 0.5 + steps, "as bad": 0.5 + steps + hair}
    ranking = rank({name: submission(values.tolist()) for name, values in runs.items()})
    won = {(d.first, d.second): (d.won_by(d.first), d.won_by(d.second)) for d in ranking.duels}
    assert won == {
        ("good", "bad"): (("Dice", "SD"), ()), ("good", "as bad"): (("Dice", "SD"), ()), ("bad", "as bad"): ((), ()),
    }  # fmt: skip
    assert ranking.duels[0].dice_p == pytest.approx(6 * 2 / 2**12)  # Holm: six tests, exact p of 2 / 2^12
    assert ranking.tau is not None


def test_runs_without_a_common_case() -> None:
    with pytest.raises(InputError, match="no case was scored in every submission"):
        rank({"a": submission([]), "b": submission([0.5])})
    with pytest.raises(InputError, match="one submission cannot be ranked"):
        rank({"a": submission([0.5])})
