"""`kits-submit train`: options to a run, and what a person sees of it. torch is imported inside the command alone.

On a terminal a bar a stage; elsewhere (a log file) one line a stage and one line a minute.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kits_submit.errors import InputError
from train import CHECKPOINT

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from train.checkpoint import Checkpoint
    from train.config import TrainConfig
    from train.loop import StepReport
    from train.run import RunResult
    from train.validate import CaseScore

PHANTOM_SEED = 1_000_000  # plus --seed; `make demo` draws its three phantoms by seed 2019, which no training sees
PHANTOM_MATRIX = 256  # half of KiTS's, for half-resolution training
PHANTOM_SLICES = 250  # at most: as three quarters of KiTS19
LOG_EVERY_S = 60.0


def train_command(
    data: Annotated[
        Path | None, typer.Option(help="Folder of labelled cases (KiTS layout). Without it, phantoms are drawn.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: a new one under runs/.")] = None,
    preset: Annotated[str, typer.Option(help="demo: minutes on a laptop. paper: the paper's own numbers.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the patches, the weights and the phantoms.")] = 0,
    init: Annotated[
        Path | None,
        typer.Option(help="Run folder or checkpoint whose weights to start from (second stage, paper 2.4)."),
    ] = None,
    tversky_beta: Annotated[
        float | None, typer.Option(min=0, max=1, help="Weight of false negatives; false positives weigh the rest.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop training after this many minutes.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: every core.")] = None,
) -> None:
    """Train a network on labelled CT, or on phantoms, and write a checkpoint that carries its Recipe."""
    from rich.console import Console

    from train.config import preset as named_preset

    if importlib.util.find_spec("torch") is None:
        raise InputError("training needs torch, which is not installed", fix="run `make dev`, or pip install torch")
    config = replace(named_preset(preset), seed=seed)
    if steps is not None:
        config = replace(config, max_steps=steps)
    if tversky_beta is not None:
        config = replace(config, tversky_alpha=1 - tversky_beta, tversky_beta=tversky_beta)
    run = out or Path("runs") / f"{config.preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    if (run / CHECKPOINT).exists():
        raise InputError("a training is there already", fix="give another --out", path=run)
    start = None if init is None else _loaded(init)
    console = Console(stderr=True)
    with RunDisplay(console) as display:
        source = data or draw_phantoms(run, config, display)
        _set_threads(threads)
        result = _run(source, run, config, minutes, start, display)
    console.print(f"{result.steps} steps; checkpoint: {result.checkpoint}", highlight=False, soft_wrap=True)


def draw_phantoms(run: Path, config: TrainConfig, display: RunDisplay) -> Path:
    """`config.phantoms` synthetic cases under RUN/phantoms, unless the very same are there."""
    from kits_submit.nifti import replacing
    from kits_submit.phantom import write_phantoms

    folder, note = run / "phantoms", run / "phantoms.json"
    seed = PHANTOM_SEED + config.seed
    wanted = {"cases": config.phantoms, "seed": seed, "matrix": PHANTOM_MATRIX, "max_slices": PHANTOM_SLICES}
    if note.is_file() and json.loads(note.read_text()) == wanted:
        display.say(f"training on the phantoms in {folder}")
        return folder
    display.say(f"no --data: training on {config.phantoms} phantoms, synthetic cases drawn into {folder}")
    note.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    display.stage("phantoms", config.phantoms)
    write_phantoms(
        folder,
        config.phantoms,
        seed,
        matrix=PHANTOM_MATRIX,
        max_slices=PHANTOM_SLICES,
        on_case=display.advanced,
    )
    with replacing(note) as stream:
        stream.write(json.dumps(wanted).encode())
    return folder


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _loaded(source: Path) -> Checkpoint:
    from train.checkpoint import load_checkpoint

    return load_checkpoint(source / CHECKPOINT if source.is_dir() else source)


def _run(
    data: Path, out: Path, config: TrainConfig, minutes: float | None, start: Checkpoint | None, display: RunDisplay
) -> RunResult:
    from train.loop import Limits
    from train.run import run_training

    return run_training(data, out, config, Limits(minutes), display, init=start)


class RunDisplay:
    """`train.run.Events` for a person: a bar a stage on a terminal, lines elsewhere."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started = self._told = clock()
        self._progress = _bars(console)
        self._task: TaskID | None = None

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def say(self, text: str) -> None:
        """One line, above the bars."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def stage(self, name: str, total: int | None) -> None:
        """A new bar."""
        self._finish()
        if not self._console.is_terminal:
            self.say(f"{self._minutes()} {name}" + (f" ({total} cases)" if total is not None else ""))
        self._task = self._progress.add_task(name, total=1.0 if total is None else total, note="")

    def advanced(self, what: str) -> None:
        """One case done."""
        if self._task is not None:
            self._progress.update(self._task, advance=1, note=what)

    def stepped(self, report: StepReport) -> None:
        """One training step done."""
        note = (
            f"step {report.step} loss {report.loss:.3f} (tversky {report.tversky:.3f}, focal {report.focal:.4f}) "
            f"rate {report.learning_rate:.1e} {report.seconds:.2f} s a step"
        )
        if self._task is not None:
            self._progress.update(self._task, completed=report.progress, note=note)
        if not self._console.is_terminal and self._clock() - self._told >= LOG_EVERY_S:
            self._told = self._clock()
            self.say(f"{self._minutes()} {report.progress:.0%} {note}")

    def scored(self, score: CaseScore) -> None:
        """One held-out case scored."""
        self.say(f"{score.case_id}: Dice kidney {score.kidney:.3f}, tumor {score.tumor:.3f} (before refinement)")
        self.advanced(score.case_id)

    def _finish(self) -> None:
        """The bar of the stage before stands at its end, whatever stopped it."""
        if self._task is not None:
            total = self._progress.tasks[self._task].total
            self._progress.update(self._task, completed=total or 0)

    def _minutes(self) -> str:
        return f"{(self._clock() - self._started) / 60:5.1f} min"


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description:>11}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
