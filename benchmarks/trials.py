"""Trainings of other numbers, side by side on one GPU: `python benchmarks/trials.py DATA OUT --trials FILE --init RUN`.

FILE is TOML, a table for each training with what it changes of the preset:

    [rate-3]
    learning_rate = 3e-3
    [cross-entropy-8]
    focal_weight = 8.0

All learn from the same patches, drawn once by the preset's own sampler (so that numbers of the data, of the patch and
of augmentation cannot differ), from the mean weights of --init, a run of preset `pretraining`, as `side_by_side.py`
trains: a CUDA graph each. Writes OUT/<name>/best.pt, which `kits-submit export` and `train --init` take. On a CPU it
runs without graphs, to be tried out.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from side_by_side import Feeder, Training, run, sampler_without

from kits_submit.errors import InputError
from train import BEST
from train.commands.shared import load_start
from train.compute.distributed import Workers
from train.compute.threads import numpy_on_one_thread
from train.config import TrainConfig
from train.data.dataset import prepare_dataset
from train.fit.checkpoint import save_checkpoint
from train.place import Place
from train.presets import preset
from train.records.events import Silence

OF_PATCHES = (
    "seed", "patch", "batch", "patients", "background_above_air", "background_beside", "centre_jitter", "flip_axes",
    "augmentation", "contrast", "fat", "implants", "healthy", "beside_phantoms", "any_hospital", "labels",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--init", type=Path, required=True, help="a run of preset pretraining")
    parser.add_argument("--preset", default="any-hospital")
    parser.add_argument("--steps", type=int, help="default: the preset's")
    given = parser.parse_args()
    config = replace(preset(given.preset), pretrain=False, after="")
    config = replace(config, max_steps=given.steps or config.max_steps)
    configs = {name: changed(config, name, values) for name, values in read(given.trials).items()}
    init = load_start(given.init)
    dataset = prepare_dataset(
        given.data, config, given.out, given.out / "cache", Place(Workers(), torch.device("cpu"), Silence())
    )
    with numpy_on_one_thread(), Feeder({"all": sampler_without(None, dataset, config)}) as feeder:
        trainings = {name: Training(one, init.standardised_as(dataset.recipe)) for name, one in configs.items()}
        seconds = run({"all": [*trainings.values()]}, feeder, config.max_steps or 0)
    print(f"{len(configs)} trainings of {config.max_steps} steps in {seconds:.0f} s")
    for name, training in trainings.items():
        (given.out / name).mkdir(parents=True, exist_ok=True)
        save_checkpoint(given.out / name / BEST, training.checkpoint(configs[name], dataset))


def read(path: Path) -> Mapping[str, Mapping[str, object]]:
    tables: dict[str, dict[str, object]] = tomllib.loads(path.read_text())
    if not tables or not all(isinstance(table, dict) for table in tables.values()):
        raise InputError("no tables of changes", fix="write [name] and what it changes below", path=path)
    return tables


def changed(config: TrainConfig, name: str, values: Mapping[str, object]) -> TrainConfig:
    """The preset's numbers but for `values`; raises InputError for one that decides which patches are drawn."""
    shared = sorted(values.keys() & set(OF_PATCHES))
    if shared:
        raise InputError(f"trial {name} changes {shared[0]}, which all trials share", fix="run it apart")
    return config.changed(values, source=f"trial {name}")


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    main()
