"""Whole runs: stages, best and last states, pretraining, two stages; validation against exact answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kits_submit.errors import InputError
from tests.train.data.test_data import phantom, write_case
from tests.train.training import RECIPE, SMALL, Heard, train, write_cases
from train.data.cache import CachedCase
from train.data.cache import write_case as write_cached
from train.fit.checkpoint import load_checkpoint
from train.fit.validate import predict_volume, validate
from train.network.deeplab import Architecture, DeepLab3D
from train.records.reports import CaseScore


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


class Voxelwise(DeepLab3D):
    """Background below 0, kidney from 0, tumor from 1: each voxel alone."""

    def forward(self, image_NCZYX: Tensor) -> Tensor:
        return torch.cat([-image_NCZYX, 0 * image_NCZYX, 2 * image_NCZYX - 2], dim=1)


@pytest.mark.parametrize("shape", [(3, 5, 7), (12, 8, 16), (13, 9, 17), (25, 16, 40)])
def test_a_stitched_voxelwise_network_is_exact(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).normal(0.5, 1, shape).astype(np.float32)
    wanted = np.select([image > 1, image > 0], [2, 1], 0)
    np.testing.assert_array_equal(predict_volume(Voxelwise().eval(), image, RECIPE), wanted)


def test_validation_scores_by_hand(tmp_path: Path) -> None:
    """Truth 4 kidney, 2 tumor. Predicted: one tumor voxel as kidney, two of background as tumor.

    Kidney: TP 4, FP 1, FN 0. Tumor: TP 1, FP 2, FN 1.
    """
    label, image = np.zeros((4, 4, 8), np.uint8), np.full((4, 4, 8), -1, np.float16)
    label[0, 0, :6] = 1, 1, 1, 1, 2, 2
    image[0, 0] = 0.5, 0.5, 0.5, 0.5, 0.5, 2, 2, 2
    write_cached(tmp_path / "case_00000", image, label, 3)
    heard: list[CaseScore] = []
    cases = [CachedCase("case_00000", tmp_path / "case_00000", 3)]
    scores = validate(Voxelwise().eval(), cases, RECIPE, on_case=heard.append)
    wanted = (8 / 9, 2 / 5, 1.0, 1 / 2, 4 / 5, 1 / 3)
    assert scores == heard == [CaseScore("case_00000", *(pytest.approx(value) for value in wanted))]


def test_a_whole_run(tmp_path: Path) -> None:
    heard = Heard()
    result = train(write_cases(tmp_path / "data"), tmp_path / "run", replace(SMALL, validate_every=1), heard)
    assert heard.stages[:3] == ["fingerprint", "cache", "training"]
    assert heard.stages[-1] == "scores"
    assert [report.step for report in heard.steps] == [1, 2, 3]
    assert result.steps == 3
    run = tmp_path / "run"
    assert len((run / "loss.csv").read_text().splitlines()) == 4
    loaded = load_checkpoint(result.best)
    assert (loaded.recipe, loaded.config) == (result.recipe, replace(SMALL, validate_every=1))
    assert result.recipe.patch == (16, 16, 24)
    assert loaded.architecture == Architecture().with_dropout(SMALL.dropout)
    assert [name for name, _ in result.scores] == ["network", "refined"]
    validated = (run / "validation.csv").read_text().splitlines()
    assert validated[0].startswith("step,epoch,case_id,kidney_dice,tumor_dice,")
    assert [line.split(",")[0] for line in validated[1:]] == ["2", "3"]  # an epoch of 3 cases is 2 steps; the end
    for picture in ("curves.png", "montage.png"):
        assert (run / picture).read_bytes()[1:4] == b"PNG"


def test_the_best_checkpoint_is_that_of_the_highest_dice(tmp_path: Path) -> None:
    config = replace(SMALL, validate_every=1, max_steps=12, learning_rate=3e-3)
    result = train(write_cases(tmp_path / "data"), tmp_path / "run", config)
    rows = [line.split(",") for line in (tmp_path / "run" / "validation.csv").read_text().splitlines()[1:]]
    dice = {int(row[0]): (float(row[3]) + float(row[4])) / 2 for row in rows}
    first_best = next(step for step in dice if dice[step] == max(dice.values()))
    assert load_checkpoint(result.best).step == first_best
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt").step == 12


def test_init_starts_from_the_mean_weights(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data")
    first = load_checkpoint(train(data, tmp_path / "a", replace(SMALL, ema_decay=0.0)).best)
    still = replace(SMALL, ema_decay=0.0, learning_rate=1e-12, seed=5)
    second = load_checkpoint(train(data, tmp_path / "b", still, init=first).best)
    for name, _ in DeepLab3D().named_parameters():
        assert torch.allclose(second.model[name], first.mean[name], atol=1e-9)


def test_pretraining_is_a_training_of_its_own_that_hands_its_weights_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(folder: Path, count: int, *_: object, **__: object) -> Path:
        return write_cases(folder / "phantoms", count)

    monkeypatch.setattr("train.run.draw_phantoms", draw)
    monkeypatch.setattr("train.run.preset", lambda name: replace(SMALL, preset=name, phantoms=3))
    still = replace(SMALL, ema_decay=0.0, learning_rate=1e-12, pretrain=True, seed=5)
    after = load_checkpoint(train(write_cases(tmp_path / "data"), tmp_path / "run", still).best)
    before = load_checkpoint(tmp_path / "run" / "pretraining" / "best.pt")
    assert (before.config.preset, before.config.seed, before.step) == ("pretraining", 5, 3)
    handed_on = before.standardised_as(after.recipe).mean
    for name, _ in DeepLab3D().named_parameters():
        assert torch.allclose(after.model[name], handed_on[name], atol=1e-9)


def test_a_wrong_name_is_told_before_anything_is_pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.run.draw_phantoms", lambda *_, **__: pytest.fail("pretrains"))
    wrong = replace(SMALL, pretrain=True, holdout_cases=("case_99999",))
    with pytest.raises(InputError, match="case_99999, which is not in the data"):
        train(write_cases(tmp_path / "data"), tmp_path / "run", wrong)


def test_the_last_state_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    config = replace(SMALL, validate_every=1, max_steps=12, learning_rate=3e-3, keep="last")
    assert load_checkpoint(train(write_cases(tmp_path / "data"), tmp_path / "run", config).best).step == 12


def test_two_stages_keep_the_split_and_hand_the_weights_on(tmp_path: Path) -> None:
    data, other = write_cases(tmp_path / "data"), write_cases(tmp_path / "interpolated")
    config = replace(SMALL, second_patch=(12, 12, 12), learning_rate=1e-12, ema_decay=0.0)
    result = train(data, tmp_path / "run", config, interpolated=other)
    assert result.best == tmp_path / "run" / "second" / "best.pt"
    first, second = (load_checkpoint(tmp_path / "run" / part / "best.pt") for part in (".", "second"))
    assert (second.config.patch, second.config.second_patch) == ((12, 12, 12), None)
    assert second.recipe.patch == (12, 12, 12)
    for name, _ in DeepLab3D().named_parameters():
        assert torch.allclose(second.model[name], first.mean[name], atol=1e-9)
    splits = [(tmp_path / "run" / part / "split.json").read_text() for part in (".", "second")]
    assert splits[0] == splits[1]
    write_case(other / "case_00009", *phantom(9))
    with pytest.raises(InputError, match="other cases than the first stage has"):
        train(data, tmp_path / "again", config, interpolated=other)
    renamed = write_cases(tmp_path / "renamed", 2)
    named = replace(config, holdout_cases=("case_00002",))
    with pytest.raises(InputError, match="other cases than the first stage has"):
        train(data, tmp_path / "named", named, interpolated=renamed)


def test_a_preset_that_comes_after_another_starts_from_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.run.preset", lambda name: replace(SMALL, preset=name))
    still = replace(SMALL, ema_decay=0.0, learning_rate=1e-12, after="any-hospital", seed=5)
    after = load_checkpoint(train(write_cases(tmp_path / "data"), tmp_path / "run", still).best)
    before = load_checkpoint(tmp_path / "run" / "any-hospital" / "best.pt")
    assert (before.config.preset, before.config.seed, before.step) == ("any-hospital", 5, 3)
    for name, _ in DeepLab3D().named_parameters():
        assert torch.allclose(after.model[name], before.mean[name], atol=1e-9)


def test_weights_carried_to_another_standardisation_answer_the_same_hu_the_same(tmp_path: Path) -> None:
    own = load_checkpoint(train(write_cases(tmp_path / "data"), tmp_path / "run", SMALL).best)
    other = replace(own.recipe, mean_hu=own.recipe.mean_hu - 30, std_hu=1.4 * own.recipe.std_hu)
    carried = own.standardised_as(other)
    hu = torch.linspace(*own.recipe.clip_hu, 16**3).reshape(1, 1, 16, 16, 16)
    with torch.inference_mode():
        answers = [one.network()((hu - one.recipe.mean_hu) / one.recipe.std_hu) for one in (own, carried)]
    assert torch.allclose(*answers, atol=1e-3)
    assert own.standardised_as(own.recipe) is own
