"""A training from labelled cases to a run folder: one stage or two. Prints nothing: `events` hears what happens.

RUN/cache/       `train.data.cache`
RUN/implants/    RUN/phantoms/: what is drawn beside the data, `train.data.cohort`
RUN/pretraining/ preset `pretraining` on phantoms, where the config asks for it
RUN/any-hospital/ the preset that the config comes after, if any, with folders of its own
RUN/...          the first stage, `train.stage`
RUN/second/...   the second, where the config has one
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kits_submit.atomic import write_text
from kits_submit.errors import InputError, OutputError
from train import PRETRAINING, SECOND, best_of
from train.compute.device import make_deterministic
from train.config import TrainConfig
from train.data.cohort import draw_phantoms
from train.data.dataset import Dataset, prepare_dataset
from train.data.splits import Split
from train.fit.checkpoint import Checkpoint, load_checkpoint
from train.fit.loop import Limits
from train.given import Given
from train.place import Place
from train.presets import preset
from train.stage import Stage, StageResult, another_config

CONFIG = "config.json"


@dataclass(frozen=True)
class Request:
    """What to train, from what, into which folder.

    - `interpolated`: the second stage's cases (the challenge's interpolated data); None takes `data` again.
    - `init`: start the first stage from its mean weights.
    - `cache`: None for one in the run folder.
    """

    data: Path
    out: Path
    config: TrainConfig
    limits: Limits = field(default_factory=Limits)
    interpolated: Path | None = None
    init: Checkpoint | None = None
    cache: Path | None = None


def run_training(request: Request, place: Place, accepted: Callable[[], None] = lambda: None) -> StageResult:
    """Train every stage, going on where an interrupted one stands; the last stage's result.

    Args:
        accepted: called by the first worker once the data are held to be the run's own.

    Raises:
        KitsError: data that cannot be used, a folder that cannot be written, a checkpoint of another training.
    """
    make_deterministic(request.config)
    with _alone(request.out, place):
        config, init = request.config, request.init
        dataset = _prepared(request.out, request.data, config, request, place)
        if init is None and best_of(request.out) is None:
            init = _started(request, place)
        stage = Stage(request.out, dataset, config, place, init=init)
        if place.workers.first:
            accepted()
        first = stage.run(request.limits)
        second = config.second()
        if second is None:
            return first
        place.events.said(f"second stage, patches of {' x '.join(map(str, second.patch))}")
        data, folder = request.interpolated or request.data, request.out / SECOND
        dataset = _prepared(folder, data, second, request, place, split=dataset.split)
        return Stage(folder, dataset, second, place, init=load_checkpoint(first.best)).run(request.limits)


def _started(request: Request, place: Place) -> Checkpoint | None:
    """What the config wants trained first: preset `after` on the same data, or `pretraining` on phantoms."""
    config = request.config
    if config.after:
        first = replace(
            preset(config.after),
            seed=config.seed,
            precision=config.precision,
            omit_cases=config.omit_cases,
            holdout=config.holdout,
            holdout_cases=config.holdout_cases,
        )
        place.events.said(f"preset {config.after} first, in {request.out / config.after}")
        return load_checkpoint(run_training(replace(request, out=request.out / config.after, config=first), place).best)
    return _pretrained(request, place) if config.pretrain else None


def _pretrained(request: Request, place: Place) -> Checkpoint:
    """The best state of preset `pretraining` on phantoms, with the config's seed."""
    folder = request.out / PRETRAINING
    asked = request.config
    config = replace(preset(PRETRAINING), seed=asked.seed, labels=asked.labels, answer=asked.answer)
    place.events.said(f"pretraining on {config.phantoms} phantoms in {folder}")
    data = draw_phantoms(folder, config.phantoms, config.seed, place.events, place.workers, labels=config.label_set)
    dataset = _prepared(folder, data, config, request, place)
    return Stage(folder, dataset, config, place).train(request.limits)


def _prepared(
    folder: Path, data: Path, config: TrainConfig, request: Request, place: Place, *, split: Split | None = None
) -> Dataset:
    cache = request.cache or request.out / "cache"
    return prepare_dataset(data, config, folder, cache, place, split=split)


def begin(out: Path, config: TrainConfig, given: Given | None = None, *, resume: bool) -> None:
    """Claim a run folder: note the config in a new one, hold the config against that of one that holds a checkpoint.

    Args:
        given: what a new run has to remember.

    Raises:
        InputError: a run is there and `resume` is not asked for, or it has another config.
        OutputError: the folder cannot be written.
    """
    if best_of(out) is not None:
        if not resume:
            raise InputError("a training is there already", fix="give another --out, or --resume it", path=out)
        differences = config.differences(stored_config(out) or config)
        if differences:
            raise another_config(differences, out / CONFIG)
    else:
        write_text(out / CONFIG, f"{config.to_json()}\n")
        if given is not None:
            given.remember(out)


def stored_config(out: Path) -> TrainConfig | None:
    """A run folder's config; None where none has begun.

    Raises:
        InputError: it cannot be read.
    """
    path = out / CONFIG
    if not path.is_file():
        return None
    try:
        return TrainConfig.from_json(path.read_text())
    except (InputError, UnicodeDecodeError, OSError) as error:
        what = error.what if isinstance(error, InputError) else "it cannot be read"
        raise InputError(what, fix="train anew into another --out", path=path) from None


@contextmanager
def _alone(out: Path, place: Place) -> Iterator[None]:
    """One training a folder: the kernel frees the lock of a process that is gone."""
    if not place.workers.first:
        place.workers.gather(None)  # wait until the first has tidied up
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot be written ({reason})", fix="check space and permissions", path=out) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another process trains in it", fix="wait for it, or give another --out", path=out
            ) from None
        for left in out.rglob(".*.part"):  # of a process that was killed while writing
            left.unlink(missing_ok=True)
        place.workers.gather(None)
        yield
