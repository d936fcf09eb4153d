"""The loop learns, is a function of its seed and stops where it should; schedules, checkpoints, validation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kits_submit.errors import InputError, ModelError, OutputError
from kits_submit.recipe import Recipe
from tests.test_train_data import phantom, write_case
from train.cache import CachedCase
from train.cache import write_case as write_cached
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.config import TrainConfig
from train.distributed import Workers
from train.ema import MeanWeights
from train.loop import Limits, StepReport, Trainer
from train.network.deeplab import Architecture, DeepLab3D
from train.network.variants import architecture_of
from train.presets import preset
from train.run import Request, run_training
from train.sampler import PatchBatch, Sampler
from train.schedule import Plateau, cosine
from train.stage import Place, StageResult, make_checkpoint
from train.validate import CaseScore, predict_volume, validate

RECIPE = Recipe((3.0, 1.5, 1.5), (-100.0, 300.0), 100.0, 50.0, patch=(16, 16, 24), margin=(2, 4, 4))
CONFIG = replace(
    preset("demo"),
    spacing_mm=None,
    patch=(8, 12, 16),
    batch=2,
    patients=2,
    learning_rate=1e-3,
    warmup=0.0,
    tumor_shift=0.0,
    max_steps=3,
    loaders=0,
    tensorboard=False,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


class OneBatch(Sampler):
    """Always the same two tiny patches: a bright block with a dark one in it."""

    def __init__(self) -> None:
        pairs = [phantom(seed) for seed in (0, 1)]
        image = np.stack([i[:8, 2:14, 2:18] for i, _ in pairs])[:, None] / np.float32(100)
        self.size = 2
        self.only = PatchBatch(image, np.stack([label[:8, 2:14, 2:18] for _, label in pairs]))

    @property
    def steps_per_epoch(self) -> int:
        return 1

    def batch(self, step: int) -> PatchBatch:
        return self.only


def trainer(config: TrainConfig = CONFIG, seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    return Trainer(DeepLab3D(architecture_of(config.architecture)), OneBatch(), config)


def fit(config: TrainConfig, limits: Limits | None = None) -> tuple[Trainer, list[StepReport]]:
    reports: list[StepReport] = []
    trained = trainer(config)
    trained.fit(limits or Limits(), reports.append)
    return trained, reports


def test_the_loss_of_two_patches_falls_far() -> None:
    _, reports = fit(replace(CONFIG, max_steps=60))
    losses = [report.loss for report in reports]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:2])
    assert [report.step for report in reports] == list(range(1, 61))
    assert reports[0].learning_rate == 1e-3
    assert reports[-1].learning_rate < 1e-5
    assert reports[-1].loss == pytest.approx(reports[-1].tversky + 0.5 * reports[-1].focal, abs=1e-6)


def test_a_training_is_a_function_of_its_seed() -> None:
    first, again = fit(CONFIG)[0], fit(CONFIG)[0]
    for a, b in zip(first.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = fit(replace(CONFIG, seed=1))[0]  # same first weights, other dropout
    assert not torch.equal(first.network.decoder.output.weight, other.network.decoder.output.weight)


def test_a_shifted_tumor_is_a_bias_that_the_loss_does_not_see() -> None:
    plain, leaning = trainer(CONFIG), trainer(replace(CONFIG, tumor_shift=1.5))
    with torch.no_grad():
        leaning.network.decoder.output.bias[2] += 1.5  # type: ignore[index]
    for one in (plain, leaning):
        one.fit(Limits(), lambda _: None)
    difference = leaning.network.decoder.output.bias - plain.network.decoder.output.bias
    assert torch.allclose(difference, torch.tensor([0.0, 0.0, 1.5]), atol=1e-4)
    for a, b in zip(plain.network.encoder.parameters(), leaning.network.encoder.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_the_network_trains_in_channels_last() -> None:
    weight = trainer().network.decoder.refine[0].weight
    assert isinstance(weight, Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_time_limit_ends_a_training() -> None:
    _, reports = fit(replace(CONFIG, max_steps=100_000), Limits(minutes=0.005))
    assert 1 <= len(reports) < 50
    assert reports[-1].progress <= 1


def test_the_plateau_schedule_ends_a_training() -> None:
    """Below the least rate nothing is trained; `max_epochs` ends it too."""
    config = replace(CONFIG, schedule="plateau", learning_rate=1e-12, min_learning_rate=1e-8, max_steps=None)
    assert fit(config)[1] == []
    config = replace(CONFIG, schedule="plateau", max_epochs=2, max_steps=None)
    assert len(fit(config)[1]) == 2


def test_a_training_that_diverges_is_told() -> None:
    broken = trainer()
    broken.sampler.only.image[0, 0, 0, 0, 0] = np.nan  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="the training diverged: the loss is nan"):
        broken.fit(Limits(), lambda _: None)


def test_plateau_by_hand() -> None:
    plateau = Plateau(rate=1.0, factor=0.1, patience=2, minimum=0.05)
    rates = []
    for loss in (5, 4, 4, 4, 3.9, 4, 4, 3.8):
        plateau.epoch_ended(loss)
        rates.append(plateau.rate)
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert plateau.ended


def test_the_papers_plateau_allows_twenty_epochs() -> None:
    plateau = Plateau(1e-3, 0.1, 20, 1e-8)
    for _ in range(20):
        plateau.epoch_ended(1.0)
    assert plateau.rate == 1e-3  # the first epoch lowered the loss, nineteen did not
    plateau.epoch_ended(1.0)
    assert plateau.rate == pytest.approx(1e-4)


def test_cosine_by_hand() -> None:
    assert [cosine(2.0, p) for p in (0, 0.5, 1, 1.5)] == pytest.approx([2, 1, 0, 0])
    assert cosine(2.0, 1 / 3) == pytest.approx(1.5)
    assert cosine(2.0, 0.05, warmup=0.1) == pytest.approx(0.5 * cosine(2.0, 0.05))
    assert cosine(2.0, 0.5, warmup=0.1) == pytest.approx(1.0)


def test_mean_weights_by_hand() -> None:
    """Decays min(0.2, 1/10, 2/11, ..) = 0.1, 2/11: mean 0 -> 0.9 -> 0.9 * 2/11 + 2 * 9/11 for values 1, 2."""
    network = DeepLab3D()
    bias = network.decoder.output.bias
    norm = network.encoder.stem[1]
    assert bias is not None
    mean = MeanWeights(network, 0.2)
    for value in (1.0, 2.0):
        bias.data.fill_(value)
        norm.running_mean.fill_(value)  # type: ignore[union-attr, operator]
        norm.num_batches_tracked.fill_(int(value))  # type: ignore[union-attr, operator]
        mean.update(network)
    wanted = 0.9 * 2 / 11 + 2 * 9 / 11
    state = mean.network.state_dict()
    assert state["decoder.output.bias"].tolist() == pytest.approx([wanted] * 3)
    assert state["encoder.stem.1.running_mean"].tolist() == pytest.approx([wanted] * 8)
    assert state["encoder.stem.1.num_batches_tracked"] == 2


def test_without_decay_the_mean_is_the_network() -> None:
    trained = fit(replace(CONFIG, ema_decay=0.0))[0]
    for a, b in zip(trained.network.state_dict().values(), trained.mean.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_survives_the_disk(tmp_path: Path) -> None:
    trained = fit(replace(CONFIG, max_steps=2))[0]
    saved = make_checkpoint(trained, RECIPE, {})
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    loaded = load_checkpoint(tmp_path / "checkpoint.pt", architecture=Architecture())
    assert (loaded.architecture, loaded.config, loaded.recipe, loaded.step) == (
        Architecture(),
        replace(CONFIG, max_steps=2),
        RECIPE,
        2,
    )
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        assert torch.equal(loaded.network()(image), trained.mean.network(image))
    assert loaded.training["mean_updates"] == 2
    assert set(loaded.training["optimizer"]) == {"state", "param_groups"}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def small_checkpoint() -> Checkpoint:
    network = DeepLab3D()
    return Checkpoint(Architecture(), CONFIG, RECIPE, 1, network.state_dict(), network.state_dict(), {})


def test_another_architecture_is_told(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, small_checkpoint())
    with pytest.raises(ModelError, match=r"architecture differs in aspp_channels \(32, wanted 64\)"):
        load_checkpoint(path, architecture=Architecture(aspp_channels=64))
    save_checkpoint(path, replace(small_checkpoint(), architecture=Architecture(aspp_channels=64)))
    with pytest.raises(ModelError, match=r"weights do not fit the architecture \(first: aspp"):
        load_checkpoint(path).network()


def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, small_checkpoint())
    whole = path.read_bytes()
    for damaged in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match="not a readable checkpoint") as told:
            load_checkpoint(path)
        assert "\n" not in str(told.value)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="not a kits-submit checkpoint"):
        load_checkpoint(path)
    torch.save({"kind": "kits-submit checkpoint", "schema": 9}, path)
    with pytest.raises(ModelError, match="schema 9, this program reads 1"):
        load_checkpoint(path)
    torch.save({"kind": "kits-submit checkpoint", "schema": 1}, path)
    with pytest.raises(ModelError, match="lacks architecture"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_checkpoint_executes_nothing(tmp_path: Path) -> None:
    torch.save({"kind": print}, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_text("before")
    broken = replace(small_checkpoint(), training={"lock": lambda: None})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, broken)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(path / "inside.pt", small_checkpoint())


class Voxelwise(DeepLab3D):
    """Background below 0, kidney from 0, tumor from 1: each voxel alone."""

    def forward(self, image_NCZYX: Tensor) -> Tensor:
        return torch.cat([-image_NCZYX, 0 * image_NCZYX, 2 * image_NCZYX - 2], dim=1)


@pytest.mark.parametrize("shape", [(3, 5, 7), (12, 8, 16), (13, 9, 17), (25, 16, 40)])
def test_a_stitched_voxelwise_network_is_exact(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).normal(0.5, 1, shape).astype(np.float32)
    wanted = np.select([image > 1, image > 0], [2, 1], 0)
    np.testing.assert_array_equal(predict_volume(Voxelwise().eval(), image, RECIPE), wanted)


class Heard:
    """`train.events.Events` that remembers."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.steps: list[StepReport] = []
        self.scores: list[CaseScore] = []
        self.lines: list[str] = []

    def said(self, text: str) -> None:
        self.lines.append(text)

    def stage(self, name: str, total: int | None) -> None:
        self.stages.append(name)

    def advanced(self, what: str) -> None: ...

    def stepped(self, report: StepReport) -> None:
        self.steps.append(report)

    def scored(self, score: CaseScore) -> None:
        self.scores.append(score)


def write_cases(data: Path, count: int = 4) -> Path:
    for i in range(count):
        write_case(data / f"case_{i:05d}", *phantom(i))
    return data


def train(data: Path, out: Path, config: TrainConfig, heard: Heard | None = None, **options: object) -> StageResult:
    place = Place(Workers(), torch.device("cpu"), heard or Heard())
    return run_training(Request(data, out, config, **options), place)  # type: ignore[arg-type]


SMALL = replace(CONFIG, holdout=0.25, inference_patch=(16, 16, 24), margin=(2, 2, 2))


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
    def draw(folder: Path, count: int, *_: object) -> Path:
        return write_cases(folder / "phantoms", count)

    monkeypatch.setattr("train.run.draw_phantoms", draw)
    monkeypatch.setattr("train.run.preset", lambda name: replace(SMALL, preset=name, phantoms=3))
    still = replace(SMALL, ema_decay=0.0, learning_rate=1e-12, pretrain=True, seed=5)
    after = load_checkpoint(train(write_cases(tmp_path / "data"), tmp_path / "run", still).best)
    before = load_checkpoint(tmp_path / "run" / "pretraining" / "best.pt")
    assert (before.config.preset, before.config.seed, before.step) == ("demo", 5, 3)
    for name, _ in DeepLab3D().named_parameters():
        assert torch.allclose(after.model[name], before.mean[name], atol=1e-9)


def test_a_wrong_name_is_told_before_anything_is_pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.run.draw_phantoms", lambda *_: pytest.fail("pretrains"))
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


def test_validation_scores_by_hand(tmp_path: Path) -> None:
    """Truth 4 kidney, 2 tumor. Predicted: one tumor voxel as kidney, two of background as tumor.

    Kidney: TP 4, FP 1, FN 0. Tumor: TP 1, FP 2, FN 1.
    """
    label, image = np.zeros((4, 4, 8), np.uint8), np.full((4, 4, 8), -1, np.float16)
    label[0, 0, :6] = 1, 1, 1, 1, 2, 2
    image[0, 0] = 0.5, 0.5, 0.5, 0.5, 0.5, 2, 2, 2
    write_cached(tmp_path / "case_00000", image, label)
    heard: list[CaseScore] = []
    cases = [CachedCase("case_00000", tmp_path / "case_00000")]
    scores = validate(Voxelwise().eval(), cases, RECIPE, on_case=heard.append)
    wanted = (8 / 9, 2 / 5, 1.0, 1 / 2, 4 / 5, 1 / 3)
    assert scores == heard == [CaseScore("case_00000", *(pytest.approx(value) for value in wanted))]


def test_help_needs_no_torch() -> None:
    code = "import sys, train.cli, export.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1]).returncode == 0
