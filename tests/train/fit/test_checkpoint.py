"""Checkpoints: what survives the disk, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kits_submit.errors import InputError, ModelError, OutputError
from tests.train.training import CONFIG, RECIPE, trainer
from train.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.fit.loop import Limits
from train.network.deeplab import Architecture, DeepLab3D
from train.stage import make_checkpoint


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_checkpoint_survives_the_disk(tmp_path: Path) -> None:
    trained = trainer(replace(CONFIG, max_steps=2))
    trained.fit(Limits(), lambda _: None)
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
