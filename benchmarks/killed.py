"""The whole protocol, killed again and again and gone on with by the command that a stopped one prints: the same bits?

    python benchmarks/killed.py DATA WORK [--kills 20] [--seed 0] [--steps 24]

DATA: a few labelled cases, and some without labels (`kits-submit phantom`). Twice: train (two stages), tune, export,
run; once as it is, once with SIGKILL at random moments of all that time. Compared: weights, losses, split, thresholds,
the ONNX file, each mask.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from train.presets import preset

Words = list[str]


def protocol(data: Path, folder: Path, config: Path) -> Iterator[tuple[str, Words, Words]]:
    """(name, command, command that goes on with it where it was stopped)."""
    run, model = folder / "run", folder / "model.onnx"
    yield (
        "train",
        ["train", "--data", str(data), "--out", str(run), "--config", str(config), "--threads", "1"],
        ["train", "--resume", "--out", str(run)],
    )
    for name, words in (
        ("tune", ["tune", str(run)]),
        ("export", ["export", str(run), "--out", str(model)]),
        ("run", ["run", str(data), str(folder / "masks"), "--model", str(model), "--device", "cpu"]),
    ):
        yield name, words, words


def carried_out(words: Words, seconds: float | None) -> bool:
    """Whether it ended by itself; with `seconds` it is killed after as many. Raises: RuntimeError: it failed."""
    command = [sys.executable, "-m", "kits_submit", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, told = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return False
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {told.splitlines()[-1]}")
    return True


def whole(data: Path, folder: Path, config: Path) -> dict[str, float]:
    """Carry the protocol out; the seconds of each of its commands."""
    taken = {}
    for name, command, _ in protocol(data, folder, config):
        begun = time.monotonic()
        carried_out(command, None)
        taken[name] = time.monotonic() - begun
    return taken


def killed(data: Path, folder: Path, config: Path, taken: dict[str, float], kills: int, seed: int) -> list[str]:
    """The same, with as many kills, spread over the commands by their time; where they fell."""
    rng = random.Random(seed)
    places = rng.choices(list(taken), weights=list(taken.values()), k=kills)
    told = []
    for name, command, again in protocol(data, folder, config):
        words = command
        for _ in range(places.count(name)):
            moment = rng.uniform(0.1, taken[name])
            if carried_out(words, moment):
                break
            told.append(f"{name} after {moment:.1f} s")
            words = again if (folder / "run" / "config.json").is_file() else command
        carried_out(words, None)
    return told


def content(folder: Path) -> dict[str, str]:
    """A hash of all that must be the same."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".pt":
            stored = torch.load(path, weights_only=True)
            arrays = [tensor.numpy().tobytes() for part in ("model", "mean") for tensor in stored[part].values()]
            found[name] = hashlib.sha256(b"".join(arrays)).hexdigest()
        elif path.name in ("loss.csv", "split.json", "recipe.json", "tune.csv", "scores.csv") or path.suffix in (
            ".onnx", ".gz", ".npy",
        ):  # fmt: skip
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=24)
    given = parser.parse_args()
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    config = given.work / "config.json"
    changes = {"max_steps": given.steps, "second_patch": (36, 36, 36), "validate_every": 12, "checkpoint_minutes": 0.02,
               "tensorboard": False, "holdout": 0.3}  # fmt: skip
    config.write_text(preset("demo").changed(changes, source="killed.py").to_json())
    taken = whole(given.data, given.work / "whole", config)
    print("as it is:", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in taken.items()), flush=True)
    told = killed(given.data, given.work / "killed", config, taken, given.kills, given.seed)
    print(f"killed {len(told)} times: {'; '.join(told)}")
    ours, theirs = content(given.work / "killed"), content(given.work / "whole")
    differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    print(f"{len(theirs)} files compared, {len(differ)} differ{': ' if differ else ''}{', '.join(differ)}")
    raise SystemExit(bool(differ))


if __name__ == "__main__":
    main()
