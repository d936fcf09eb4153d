"""Cases that cannot be used, are known to be wrong, or are empty: each told by its name; and what a run writes down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kits_submit.errors import GeometryError, InputError, LabelError, MixedError, VolumeError
from kits_submit.labels import KITS19
from kits_submit.recipe import Recipe
from kits_submit.report.colours import colours
from tests.train.data.test_data import phantom, write_case
from tests.train.training import RECIPE, SMALL, Heard, train, write_cases
from train.compute.distributed import Workers
from train.data.dataset import Dataset, prepare_dataset, same_data
from train.data.fingerprint import measure
from train.place import Place
from train.records.journal import HEADS, Journal, read_rows
from train.records.pictures import draw_curves, draw_montage, panel_of
from train.records.reports import CaseScore, StepReport


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def prepare(data: Path, heard: Heard, **changes: object) -> Dataset:
    config = replace(SMALL, **changes)  # type: ignore[arg-type]
    place = Place(Workers(), torch.device("cpu"), heard)
    return prepare_dataset(data, config, data.parent / "run", data.parent / "cache", place)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_every_bad_case_is_told_before_training_stops(tmp_path: Path) -> None:
    data, heard = write_cases(tmp_path / "data", 6), Heard()
    truncate(data / "case_00001" / "imaging.nii.gz")
    image, label = phantom(3)
    write_case(data / "case_00003", image, label + 5)
    write_case(data / "case_00004", image, label[1:])
    with pytest.raises(MixedError, match=r"case_00001.*\(and 2 more bad cases, see above\).*--skip-bad-cases") as error:
        prepare(data, heard)
    assert "\n" not in str(error.value)
    told = [line for line in heard.lines if line.startswith("bad case: ")]
    assert [name for line in told for name in ("case_00001", "case_00003", "case_00004") if name in line] == [
        "case_00001",
        "case_00003",
        "case_00004",
    ]
    rest = prepare(data, Heard(), skip_bad_cases=True)
    assert sorted(rest.cases) == ["case_00000", "case_00002", "case_00005"]
    assert sorted(rest.split.train + rest.split.validation) == sorted(rest.cases)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (VolumeError, "truncated|ends early|damaged"),
        (LabelError, "a label is 7, allowed: 0 to 2"),
        (GeometryError, "shape"),
    ],
)
def test_one_bad_case_is_told_by_its_own_kind(kind: type[Exception], told: str, tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data")
    image, label = phantom(1)
    if kind is VolumeError:
        truncate(data / "case_00001" / "segmentation.nii.gz")
    else:
        write_case(data / "case_00001", image, label + 5 if kind is LabelError else label[1:])
    with pytest.raises(kind, match=told) as error:
        prepare(data, Heard())
    assert "case_00001" in str(error.value)
    assert "--skip-bad-cases" in str(error.value)


def test_nothing_but_bad_cases_cannot_be_skipped(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data", 1)
    truncate(data / "case_00000" / "imaging.nii.gz")
    with pytest.raises(VolumeError):
        prepare(data, Heard(), skip_bad_cases=True)


def test_an_empty_label_is_told_and_trains_as_background(tmp_path: Path) -> None:
    data, heard = write_cases(tmp_path / "data"), Heard()
    write_case(data / "case_00001", phantom(1)[0], np.zeros((8, 16, 20), np.uint8))
    result = train(data, tmp_path / "run", replace(SMALL, max_steps=4), heard)
    assert heard.lines[0] == "case_00001: its label is empty; it gives patches of background alone"
    assert result.steps == 4


@pytest.mark.parametrize("omit", [False, True])
def test_known_bad_cases_are_named_and_left_out_on_request_alone(
    omit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = (8, 16, 20)
    monkeypatch.setattr("train.data.wanted.KNOWN_BAD", {23: grid, 68: grid, 133: grid, 24: (9, 16, 20)})
    data, heard = tmp_path / "data", Heard()
    for number in (22, 23, 24, 133):
        write_case(data / f"case_{number:05d}", *phantom(number))
    used = sorted(prepare(data, heard, omit_known_bad=omit).cases)
    assert used == (["case_00022", "case_00024"] if omit else ["case_00022", "case_00023", "case_00024", "case_00133"])
    assert "case_00023, case_00133" in heard.lines[0]


def test_a_case_measured_before_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = write_case(tmp_path / "case_00000", *phantom(0))
    first = measure(case, KITS19, tmp_path / "facts")
    monkeypatch.setattr("train.data.fingerprint.open_pair", None)
    again = measure(case, KITS19, tmp_path / "facts")
    assert (again.case_id, again.sha256, again.spacing_mm) == (
        first.case_id,
        first.sha256,
        pytest.approx(first.spacing_mm),
    )
    np.testing.assert_array_equal(again.histogram, first.histogram)


def report(step: int) -> StepReport:
    return StepReport(step, step // 2, 0.5, 1 / step, 0.25, 0.5, 1e-3, 2.0, 0.1, 8)


def test_a_journal_goes_on_from_a_step(tmp_path: Path) -> None:
    with Journal(tmp_path, step=0, tensorboard=False) as journal:
        for step in (1, 2, 3):
            journal.stepped(report(step))
        journal.validated(3, 1, [CaseScore("case_00000", 1, 0.5, 1, 1, 1, 1)])
    with (tmp_path / "loss.csv").open("a") as stream:
        stream.write("4,2,0.2")  # a line that a kill cut short
    with Journal(tmp_path, step=2, tensorboard=False) as journal:
        assert [row["step"] for row in read_rows(tmp_path / "loss.csv")] == ["1", "2"]
        assert read_rows(tmp_path / "validation.csv") == []
        journal.stepped(report(3))
    rows = read_rows(tmp_path / "loss.csv")
    assert list(rows[0]) == list(HEADS["loss.csv"])
    assert [float(row["loss"]) for row in rows] == pytest.approx([1, 1 / 2, 1 / 3])
    assert float(read_rows(tmp_path / "timing.csv")[2]["data_s"]) == pytest.approx(0.1)


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Journal(tmp_path, step=0, tensorboard=True) as journal:
        journal.stepped(report(1))
        journal.validated(1, 0, [CaseScore("case_00000", 1, 0.5, 1, 1, 1, 1)])
        image, label = phantom(0)
        draw_montage(
            [panel_of("case_00000", image, label, label, (3.0, 1.5, 1.5), KITS19)], tmp_path / "montage.png", KITS19
        )
        journal.picture("validation/montage", tmp_path / "montage.png", 1)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Scalars("validation/tumor_dice")[0].value == 0.5
    assert events.Scalars("train/loss")[0].step == 1
    assert events.Images("validation/montage")[0].width > 100


def test_a_panel_shows_the_slice_with_most_tumor() -> None:
    image, label = phantom(0)
    label[4, 0, :9] = 2
    panel = panel_of("case_00000", image, label, label * 0, (3.0, 1.5, 2.0), KITS19)
    assert panel.title == "case_00000, slice 4"
    np.testing.assert_array_equal(panel.truth, label[4])
    assert panel.pixel_mm == (1.5, 2.0)
    assert panel_of("case_00000", image, np.minimum(label, 1), label, (3.0, 1.5, 1.5), KITS19).title.endswith("slice 4")
    assert panel_of("case_00000", image, label * 0, label, (3.0, 1.5, 1.5), KITS19).title.endswith("slice 4")


def test_pictures_show_what_is_there(tmp_path: Path) -> None:
    """Contours in their colours, and a picture of a run without held-out cases."""
    from PIL import Image

    image, label = phantom(0)
    draw_montage(
        [panel_of("case_00000", image / 100, label, label, (3.0, 1.5, 1.5), KITS19)] * 5,
        tmp_path / "montage.png",
        KITS19,
    )
    with Image.open(tmp_path / "montage.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for wanted in colours(KITS19).values():
        assert (np.abs(pixels - wanted).sum(axis=1) < 60).sum() > 50
    with Journal(tmp_path, step=0, tensorboard=False) as journal:
        for step in range(1, 40):
            journal.stepped(report(step))
    draw_curves(tmp_path, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 800


def test_a_run_without_held_out_cases_ends_with_its_last_state(tmp_path: Path) -> None:
    result = train(write_cases(tmp_path / "data"), tmp_path / "run", replace(SMALL, holdout=0.0))
    assert result.scores == ()
    assert result.best.is_file()


def test_no_case_at_all_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="no case found"):
        prepare(tmp_path / "data", Heard())


def test_a_run_of_before_a_field_was_added_is_of_the_same_data() -> None:
    def recipe_with(config: dict[str, object]) -> Recipe:
        return replace(RECIPE, provenance={"data_sha256": "a", "config": json.dumps(config)})

    whole = json.loads(SMALL.to_json())
    before = {name: value for name, value in whole.items() if name not in ("pretrain", "implants")}
    assert same_data(recipe_with(before), recipe_with(whole))
    assert not same_data(recipe_with(before), recipe_with(whole | {"implants": 3}))
    assert not same_data(recipe_with(before), recipe_with(whole | {"seed": 9}))
