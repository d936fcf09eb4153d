"""Dealing cases out: a partition, balanced, the same in every process; what SLURM and Kubernetes say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kits_submit.batch.shards import deal, parse_shard
from kits_submit.errors import UsageError
from kits_submit.files.parts import WHOLE, Part, parts_in

SIZES = st.dictionaries(st.text(min_size=1, max_size=6), st.integers(0, 10**9), max_size=60)


@given(SIZES, st.integers(1, 12))
def test_each_case_is_in_one_shard_and_in_order(sizes, count):
    dealt = deal(sizes, count)
    assert len(dealt) == count
    assert sorted(name for shard in dealt for name in shard) == sorted(sizes)
    order = list(sizes)
    assert all(shard == sorted(shard, key=order.index) for shard in dealt)


@given(SIZES, st.integers(1, 12))
def test_shards_differ_by_no_more_than_the_largest_case(sizes, count):
    loads = [sum(sizes[name] for name in shard) for shard in deal(sizes, count)]
    assert max(loads) - min(loads) <= max(sizes.values(), default=0)


@given(SIZES, st.integers(1, 12), st.randoms())
def test_the_order_of_listing_decides_nothing(sizes, count, rng):
    shuffled = list(sizes.items())
    rng.shuffle(shuffled)
    assert list(map(set, deal(dict(shuffled), count))) == list(map(set, deal(sizes, count)))


def test_cases_of_no_size_are_dealt_by_number():
    assert [len(shard) for shard in deal(dict.fromkeys("abcdefg", 0), 3)] == [3, 2, 2]


SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("text", "environment", "part"),
    [
        ("3/8", {}, Part(3, 8)),
        ("1/1", {}, WHOLE),
        ("auto", SLURM, Part(3, 4)),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "11", "SLURM_ARRAY_TASK_STEP": "2"}, Part(4, 4)),
        ("auto", SLURM | {"KITS_SHARDS": "10"}, Part(8, 10)),
        ("auto", {"JOB_COMPLETION_INDEX": "0", "KITS_SHARDS": "5"}, Part(1, 5)),
        ("2/3", SLURM, Part(2, 3)),
    ],
)
def test_what_is_asked_for(text, environment, part):
    assert parse_shard(text, environment) == part


@pytest.mark.parametrize(
    ("text", "environment", "told"),
    [
        ("0/4", {}, "there is no shard 0 of 4"),
        ("5/4", {}, "there is no shard 5 of 4"),
        ("1/0", {}, "there is no shard 1 of 0"),
        ("4", {}, "--shard 4 is no I/N"),
        ("a/4", {}, "--shard 'a' is no whole number"),
        ("1/-4", {}, "'-4' is no whole number"),
        ("auto", {}, "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "JOB_COMPLETION_INDEX is set and KITS_SHARDS is not"),
        ("auto", {"JOB_COMPLETION_INDEX": "5", "KITS_SHARDS": "5"}, "there is no shard 6 of 5"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0"}, "SLURM_ARRAY_TASK_COUNT '' is no whole number"),
    ],
)
def test_what_is_no_shard_is_told(text, environment, told):
    with pytest.raises(UsageError, match=told):
        parse_shard(text, environment)


def test_a_parts_files_have_its_name(tmp_path):
    assert WHOLE.named("run.json") == "run.json"
    for part in (Part(2, 8), Part(10, 10), Part(9, 10)):
        (tmp_path / part.named("run.json")).touch()
    (tmp_path / "run.json").touch()
    (tmp_path / "run.2-of-8.jsonl").touch()
    assert {part: path.name for part, path in parts_in(tmp_path, "run.json").items()} == {
        Part(2, 8): "run.2-of-8.json", Part(9, 10): "run.9-of-10.json", Part(10, 10): "run.10-of-10.json",
    }  # fmt: skip
    assert parts_in(tmp_path / "none", "run.json") == {}
