"""`kits-submit train`: options to a run, and its result in a table. torch is imported inside the command alone."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kits_submit.console import goes_on_with
from kits_submit.errors import InputError
from train import CHECKPOINT, best_of
from train.commands.plan import show_plan
from train.commands.shared import (
    CacheOption,
    ConfigOption,
    DataOption,
    DeviceOption,
    JobsOption,
    PrintOption,
    ThreadsOption,
    load_start,
    need_torch,
    phantoms_of,
    score_table,
    set_threads,
)
from train.flags import base_config, make_config, printed, with_config_flags
from train.given import Given, given_before
from train.presets import preset as named_preset
from train.records.display import RunDisplay

if TYPE_CHECKING:
    from rich.console import Console

    from train.config import TrainConfig
    from train.records.events import Events
    from train.stage import StageResult


@with_config_flags
def train_command(
    data: DataOption = None,
    interpolated: Annotated[
        Path | None, typer.Option(help="The challenge's interpolated data, for the second stage. Default: --data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: a new one under runs/.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="demo: minutes on a laptop (default). paper: the paper's. kits23, kits23-regions: the paper's on "
            "KiTS23. shipped: models/'s. Or a row of Tables 2, 3."
        ),
    ] = None,
    config_file: ConfigOption = None,
    print_config: PrintOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with --out (default: the newest run), wherever it was stopped.")
    ] = False,
    init: Annotated[Path | None, typer.Option(help="Run folder or checkpoint whose weights to start from.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop each stage after this many minutes.")] = None,
    cache: CacheOption = None,
    jobs: JobsOption = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it would take here: cases, disk, memory, time; and train nothing.")
    ] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    **flags: Any,
) -> None:
    """Train on labelled CT, or on phantoms: checkpoints that carry their Recipe, curves, held-out scores.

    Several GPUs, or several CPU processes: `torchrun --nproc-per-node 2 .venv/bin/kits-submit train ...`.
    """
    from rich.console import Console

    run = out
    if resume and run is None:
        run = newest_run(Path("runs"))
    before = _stored(run) if resume and run is not None else None
    config = make_config(base_config(preset, config_file, before or named_preset("demo")), config_file, flags)
    if print_config:
        typer.echo(printed(config), nl=False)
        return
    need_torch()
    run = run or Path("runs") / f"{config.preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    given = Given(data, interpolated, cache, init, minutes, threads)
    if resume:
        given = given.over(given_before(run)).check()
    console = Console(stderr=True)
    if plan:
        set_threads(threads)
        show_plan(given, run, config, jobs, device)
        return
    with RunDisplay(console) as display:
        result = _trained(given, run, config, display, resume=resume, device=device, jobs=jobs)
    if result is not None:
        show_result(console, result)


def command_to_resume(run: Path, device: str) -> str:
    """What goes on with a run that was stopped, as it is typed here; the run knows the rest."""
    program = Path(sys.argv[0])
    words = [sys.executable, "-m", "kits_submit"] if program.name == "__main__.py" else [str(program)]
    if not program.parent.name or shutil.which(program.name) == str(program):
        words = [program.name]
    world = os.environ.get("LOCAL_WORLD_SIZE")
    launcher = ["torchrun", "--nproc-per-node", world] if world else []
    chosen = [] if device == "auto" else ["--device", device]
    return shlex.join([*launcher, *words, "train", "--resume", "--out", str(run), *chosen])


def newest_run(runs: Path) -> Path:
    """The run folder whose checkpoint, or config, was written last.

    Raises:
        InputError: none there.
    """
    found = sorted(
        [*runs.glob(f"*/{CHECKPOINT}"), *runs.glob(f"*/second/{CHECKPOINT}"), *runs.glob("*/config.json")],
        key=lambda path: path.stat().st_mtime,
    )
    if not found:
        raise InputError("no run in it", fix="train first (`kits-submit train`), or name the run", path=runs)
    return runs / found[-1].relative_to(runs).parts[0]


def _stored(run: Path) -> TrainConfig | None:
    from train.run import stored_config

    return stored_config(run)


def _trained(
    given: Given, run: Path, config: TrainConfig, display: RunDisplay, *, resume: bool, device: str, jobs: int | None
) -> StageResult | None:
    """The result for the first worker, None for the others."""
    from train.compute.device import choose_device
    from train.compute.distributed import joined
    from train.fit.loop import Limits
    from train.place import Place
    from train.records.events import Silence
    from train.run import Request, begin, run_training

    set_threads(given.threads)
    start = None if given.init is None or best_of(run) is not None else load_start(given.init)
    chosen = choose_device(device)
    with joined(chosen) as workers:
        events: Events = display if workers.first else Silence()
        if workers.first:
            begin(run, config, given, resume=resume)
            goes_on_with(command_to_resume(run, device))
        workers.gather(None)
        source = given.data or phantoms_of(run, config, events, workers)
        request = Request(source, run, config, Limits(given.minutes), given.interpolated, start, given.cache)
        result = run_training(request, Place(workers, chosen, events, jobs), lambda: given.remember(run))
        return result if workers.first else None


def show_result(console: Console, result: StageResult) -> None:
    """Means on the held-out cases' own grids, and where the weights are."""
    from train.stage import NETWORK, REFINED

    rows = [
        (words, [score for masks, score in result.scores if masks == what])
        for what, words in ((NETWORK, "network alone"), (REFINED, "after postprocessing"))
    ]
    if rows[0][1]:
        console.print(score_table(f"{len(rows[0][1])} held-out cases", rows))
    line = f"{result.steps} steps, {result.waited:.1%} of their time waiting for patches; best: {result.best}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
