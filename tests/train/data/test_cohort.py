"""What a training draws beside its data: copies follow their source, phantoms only train, nothing is drawn twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kits_submit.errors import InputError
from kits_submit.labels import KITS19, TUMOR
from tests.conftest import save
from tests.train.data.test_data import phantom, write_case
from tests.train.synthesis.test_implant import scan
from tests.train.training import SMALL, Heard
from train.compute.distributed import Workers
from train.config import TrainConfig
from train.data.cohort import Cohort, gather_cohort
from train.pairs import content_hash, read_pair


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans with kidneys and one whose label is empty."""
    folder = tmp_path_factory.mktemp("scans")
    image, labels = scan()
    for number, kidneys in ((3, labels), (4, labels), (5, 0 * labels)):
        save(folder / f"case_{number:05d}" / "imaging.nii.gz", image.astype(np.int16) + number)
        save(folder / f"case_{number:05d}" / "segmentation.nii.gz", kidneys)
    return folder


def gather(data: Path, out: Path, heard: Heard | None = None, **changes: object) -> Cohort:
    return gather_cohort(data, configured(**changes), out, heard or Heard(), Workers())


def configured(**changes: object) -> TrainConfig:
    return replace(SMALL, **changes)  # type: ignore[arg-type]


def names(cohort: Cohort) -> list[str]:
    return [case.case_id for case in cohort.cases]


def test_copies_follow_their_source(tmp_path: Path, data: Path) -> None:
    heard = Heard()
    cohort = gather(data, tmp_path, heard, implants=2)
    copies = ["case_00003+0", "case_00003+1", "case_00004+0", "case_00004+1"]
    assert names(cohort) == ["case_00003", "case_00004", "case_00005", *copies]
    assert any("no tumor drawn into case_00005" in line for line in heard.lines)
    split = cohort.split(set(names(cohort)), configured(holdout_cases=("case_00004",)))
    assert split.validation == ("case_00004", *copies[2:])
    assert split.train == ("case_00003", *copies[:2], "case_00005")
    later = cohort.split(set(names(cohort)), configured(), split)
    assert later == split


def test_copies_with_cysts_alone(tmp_path: Path, data: Path) -> None:
    wanted = {"implants": 1, "healthy": 2, "omit_cases": ("case_00004", "case_00005")}
    cohort = gather(data, tmp_path, **wanted)
    assert names(cohort) == ["case_00003", "case_00003+0", "case_00003+1", "case_00003+2"]
    tumors = [bool((read_pair(case, KITS19)[1] == TUMOR).any()) for case in cohort.drawn]
    assert tumors == [True, False, False]
    heard = Heard()
    assert names(gather(data, tmp_path, heard, **wanted)) == names(cohort)
    assert "implants" not in heard.stages


def test_what_is_there_is_drawn_anew_only_where_it_would_differ(tmp_path: Path, data: Path) -> None:
    def drawn(**changes: object) -> list[str]:
        heard = Heard()
        cohort = gather(data, tmp_path, heard, omit_cases=("case_00005", "case_00004"), **changes)
        return ["implants" in heard.stages, *map(content_hash, cohort.drawn)]

    first = drawn(implants=1)
    assert first[0]
    assert drawn(implants=1) == [False, *first[1:]]
    other = drawn(implants=1, seed=1)
    assert other[0]
    assert other[1:] != first[1:]
    assert drawn(implants=1) == first


def test_phantoms_beside_data_only_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    def write(out: Path, cases: int, seed: int, **_: object) -> None:
        for i in range(cases):
            write_case(out / f"case_{i:05d}", *phantom(seed + i))

    monkeypatch.setattr("train.data.cohort.write_phantoms", write)
    cohort = gather(data, tmp_path, beside_phantoms=2)
    assert names(cohort)[3:] == ["phantom_00000", "phantom_00001"]
    split = cohort.split(set(names(cohort)), configured(holdout=0.6))
    assert len(split.validation) == 2
    assert {"phantom_00000", "phantom_00001"} < set(split.train)


def test_names_that_cannot_be_held_out_are_told(tmp_path: Path, data: Path) -> None:
    cohort = gather(data, tmp_path)
    for held, told in ((("case_9",), "case_9, which is not in the data"), (tuple(names(cohort)), "every case")):
        with pytest.raises(InputError, match=told):
            cohort.split(set(names(cohort)), configured(holdout_cases=held))


def test_a_wrong_name_is_told_before_anything_is_drawn(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="case_9, which is not in the data"):
        gather(data, tmp_path, implants=1, holdout_cases=("case_9",))
    assert list(tmp_path.iterdir()) == []


def test_all_cases_omitted(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match="omit-cases leaves no case"):
        gather(data, tmp_path, omit_cases=("case_00003", "case_00004", "case_00005"))


def test_only_the_first_worker_draws(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting(Workers):
        def gather(self, value: object) -> list[object]:
            waited.append(value)
            return [value]

    waited: list[object] = []
    monkeypatch.setattr("train.data.cohort.replacing", lambda *_: pytest.fail("draws"))
    cohort = gather_cohort(data, configured(implants=1), tmp_path, Heard(), Waiting(rank=1))
    assert len(waited) == 1
    assert names(cohort) == ["case_00003", "case_00004", "case_00005"]
