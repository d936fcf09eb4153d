"""How fast and in how much memory the training goes, on this machine: `python benchmarks/training.py [OUT.json]`.

    sampler   48-cubes a second from the cache on one core, page cache cold and warm, without augmentation
    step      the loop's step over a bare forward + backward + Adam on the same tensors, in fp32, depthwise convolutions
              left to torch; its wait for patches; both with the next patches augmented meanwhile, and in bf16, too
    paper     peak memory of one step of the `paper` preset's batch of 39
    cache     peak memory of measuring and caching 512 x 512 x 1059 voxels of float64
    falls     the first and the last loss of every ablation preset over 30 steps on two phantoms' patches

Each is measured in a process of its own, so that its peak memory is its own. Ratios are of one process, in turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kits_submit.labels import KITS19
from kits_submit.machine.memory import peak_mb
from kits_submit.phantom import write_phantoms

if TYPE_CHECKING:
    from kits_submit.recipe import Recipe
    from train.config import TrainConfig
    from train.data.cache import CachedCase
    from train.data.sampler import Sampler

OUT = Path("build/bench/training.json")


def sampler(folder: Path) -> dict[str, float]:
    from train.data.cache import CachedCase
    from train.data.cache import write_case as write_cached
    from train.data.sampler import Sampler

    rng = np.random.default_rng(0)
    shape = (150, 420, 420)  # a case of KiTS19 at its median spacing
    cases = []
    for i in range(13):
        label = np.zeros(shape, np.uint8)
        label[60:90, 150:200, 100:150] = 1
        label[70:80, 170:190, 110:140] = 2
        name = f"case_{i:05d}"
        write_cached(folder / name, rng.normal(size=shape).astype(np.float16), label, len(KITS19))
        cases.append(CachedCase(name, folder / name, len(KITS19)))
    drawn = Sampler(cases, patch=(48, 48, 48), batch=39, patients=13, air=-4.0)

    def rate(steps: range) -> float:
        started = time.perf_counter()
        for step in steps:
            drawn.batch(step)
        return 39 * len(steps) / (time.perf_counter() - started)

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sync()
    _drop(folder)
    cold = rate(range(4))
    rate(range(100, 110))
    return {"cold_patches_s": cold, "warm_patches_s": rate(range(100, 110))}


def _drop(folder: Path) -> None:
    """Tell the kernel to forget the files' pages."""
    for path in folder.rglob("*.npy"):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def step(folder: Path) -> dict[str, float]:
    from kits_submit.inference.intensity import air
    from train.data.sampler import Sampler
    from train.presets import preset
    from train.synthesis.augment import Augmenter

    config = replace(preset("shipped"), max_steps=12, loaders=2)
    cases, recipe = _phantom_cases(folder, config)
    result: dict[str, float] = {}
    kinds = (("", None, "fp32"), ("augmented_", Augmenter(recipe, 1.0), "fp32"), ("bf16_", None, "bf16"))
    for name, augmenter, precision in kinds:
        drawn = Sampler(cases, patch=config.patch, batch=config.batch, patients=4, air=air(recipe), augmenter=augmenter)
        mine, bare, waited = _steps(drawn, replace(config, precision=precision))
        result |= {
            f"{name}step_s": mine,
            f"{name}bare_s": bare,
            f"{name}ratio": mine / bare,
            f"{name}waiting_share": waited,
            f"{name}patches_s": config.batch / mine,
        }
    return result


def _steps(drawn: Sampler, config: TrainConfig) -> tuple[float, float, float]:
    """Median seconds of our steps and of bare ones, in turns, and the share of ours spent waiting for patches."""
    import torch

    from train.fit.loop import Limits, Trainer, to_tensors
    from train.fit.losses import combined_loss
    from train.network.deeplab import DeepLab3D
    from train.network.depthwise import DepthwiseConv3d
    from train.records.reports import StepReport

    trainer = Trainer(DeepLab3D(), drawn, config)
    bare = DeepLab3D()
    for layer in bare.modules():
        if isinstance(layer, DepthwiseConv3d):
            layer.forward = partial(torch.nn.Conv3d.forward, layer)  # type: ignore[method-assign]
    bare.to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(bare.parameters())
    batch = to_tensors(drawn.batch(0), torch.device("cpu"))

    def bare_step() -> float:
        image, label = batch
        started = time.perf_counter()
        parts = combined_loss(
            bare(image),
            label,
            alpha=config.tversky_alpha,
            beta=config.tversky_beta,
            focal_weight=config.focal_weight,
            gamma=config.focal_gamma,
        )
        optimizer.zero_grad()
        parts.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return time.perf_counter() - started

    ours: list[StepReport] = []
    theirs: list[float] = []

    def on_step(report: StepReport) -> None:  # in turns, so that both meet the same machine
        ours.append(report)
        theirs.append(bare_step())

    trainer.fit(Limits(), on_step)
    mine = float(np.median([report.seconds for report in ours[2:]]))
    waited = sum(report.data_s for report in ours[2:]) / sum(report.seconds for report in ours[2:])
    return mine, float(np.median(theirs[2:])), waited


def _phantom_cases(folder: Path, config: TrainConfig) -> tuple[list[CachedCase], Recipe]:
    from kits_submit.files.cases import find_cases
    from train.data.cache import cache_case
    from train.data.fingerprint import make_recipe, measure

    write_phantoms(folder / "data", 4, 77, matrix=256, max_slices=110)
    cases = find_cases(folder / "data")
    recipe = make_recipe([measure(case, config.label_set) for case in cases], config)
    return [cache_case(case, recipe, folder / "cache", max_slices=200) for case in cases], recipe


def paper(_: Path) -> dict[str, float]:
    import torch

    from train.compute.device import Precision
    from train.fit.loop import train_step
    from train.network.deeplab import DeepLab3D
    from train.presets import preset

    config = preset("paper")
    network = DeepLab3D().to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters())
    image = torch.randn(config.batch, 1, *config.patch).to(memory_format=torch.channels_last_3d)
    label = torch.randint(3, (config.batch, *config.patch))
    precision = Precision("fp32", torch.device("cpu"))
    for _step in range(2):
        train_step(network, optimizer, (image, label), config, precision)
    return {"peak_gb": peak_mb() / 1000}


def cache(folder: Path) -> dict[str, float]:
    from kits_submit.files.cases import find_cases
    from kits_submit.phantom.draw import Phantom
    from kits_submit.phantom.write import write_phantom
    from train.data.cache import cache_case
    from train.data.fingerprint import make_recipe, measure
    from train.presets import preset

    if not (folder / "case_00000").is_dir():  # in another process: drawing would count
        image = np.zeros((1059, 512, 512), np.float32)
        label = np.zeros(image.shape, np.uint8)
        image[300:700, 100:300, 100:300] = np.random.default_rng(0).integers(-100, 300, (400, 200, 200))
        label[300:700, 100:300, 100:300] = 1
        label[400:500, 150:200, 150:200] = 2
        write_phantom(Phantom(image, label, (0.5, 0.78125, 0.78125), "excretory"), folder / "case_00000")
        return _apart("cache", folder)
    started = time.perf_counter()
    case = find_cases(folder)[0]
    config = preset("paper")
    recipe = replace(make_recipe([measure(case, config.label_set)], config), spacing_mm=(3.0, 0.78125, 0.78125))
    cache_case(case, recipe, folder / "cache", max_slices=200)
    return {"peak_gb": peak_mb() / 1000, "seconds": time.perf_counter() - started}


def falls(folder: Path) -> dict[str, float]:
    import torch

    from train.data.sampler import Sampler
    from train.fit.loop import Limits, Trainer
    from train.network.deeplab import DeepLab3D
    from train.network.variants import architecture_of
    from train.presets import TABLE_2, TABLE_3, preset
    from train.records.reports import StepReport

    demo = replace(preset("demo"), max_steps=30, patch=(24, 24, 24), batch=4, patients=4)
    cases, _ = _phantom_cases(folder, demo)
    found = {}
    for name in (*TABLE_2, *TABLE_3):
        torch.manual_seed(0)
        own = preset(name)
        config = replace(demo, architecture=own.architecture, focal_weight=own.focal_weight)
        losses: list[float] = []

        def on_step(report: StepReport, losses: list[float] = losses) -> None:
            losses.append(report.loss)

        drawn = Sampler(cases, patch=config.patch, batch=4, patients=4, air=-3.0)
        Trainer(DeepLab3D(architecture_of(config.architecture)), drawn, config).fit(Limits(), on_step)
        found[f"{name}_first"], found[f"{name}_last"] = float(np.mean(losses[:3])), float(np.mean(losses[-5:]))
    return found


MEASURES: dict[str, Callable[[Path], dict[str, float]]] = {
    "sampler": sampler,
    "step": step,
    "paper": paper,
    "cache": cache,
    "falls": falls,
}


def _apart(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--one"]:
        print(json.dumps(MEASURES[arguments[1]](Path(arguments[2]))))
        return
    wanted = [name for name in arguments if name in MEASURES] or list(MEASURES)
    results = {}
    for name in wanted:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = _apart(name, Path(folder))
        print(name, " ".join(f"{key} {value:.4g}" for key, value in results[name].items()), flush=True)
    paths = [Path(name) for name in arguments if name.endswith(".json")]
    out = paths[0] if paths else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
