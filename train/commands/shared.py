"""Options and words that the commands share; torch is imported inside them alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kits_submit.errors import InputError
from kits_submit.machine.processors import processors
from train import CHECKPOINT, best_of

if TYPE_CHECKING:
    from train.compute.distributed import Workers
    from train.config import TrainConfig
    from train.fit.checkpoint import Checkpoint
    from train.records.events import Events
    from train.records.reports import Scored

DataOption = Annotated[
    Path | None, typer.Option(help="Folder of labelled cases (KiTS layout). Without it, phantoms are drawn.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file of numbers, or a run's config.json; flags go before it.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cuda or cpu.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: every core that may be used.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the resampled cases, which runs and machines may share. Default: in the run's."),
]
JobsOption = Annotated[
    int | None, typer.Option(min=1, help="Processes that read cases at once, as memory allows. Default: every core.")
]
PrintOption = Annotated[bool, typer.Option("--print-config", help="Print every number as a --config file, and exit.")]


def need_torch() -> None:
    """Raises: InputError: torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise InputError(
            "training needs torch, which is not installed", fix="pip install 'kits-submit[train]', or run `make dev`"
        )


def load_start(source: Path) -> Checkpoint:
    """The weights of a run folder's best state, or of a checkpoint.

    Raises:
        InputError, ModelError: not there, or not readable.
    """
    from train.fit.checkpoint import load_checkpoint

    return load_checkpoint((best_of(source) or source / CHECKPOINT) if source.is_dir() else source)


def phantoms_of(run: Path, config: TrainConfig, events: Events, workers: Workers) -> Path:
    """`config.phantoms` synthetic cases to train on, drawn by the first worker, the others waiting."""
    from train.data.cohort import PHANTOMS, draw_phantoms

    if best_of(run) is not None and not (run / PHANTOMS).is_dir():
        raise InputError("the run has no phantoms of its own", fix="give --data, what it was trained on", path=run)
    events.said(f"no --data: training on {config.phantoms} phantoms, synthetic cases in {run / PHANTOMS}")
    return draw_phantoms(run, config.phantoms, config.seed, events, workers, labels=config.label_set)


def set_threads(threads: int | None) -> None:
    """CPU threads of torch: a sum's rounding depends on them, so a run that goes on wants as many as before.

    By default as many as torch takes by itself (`OMP_NUM_THREADS`, or each core), and no more than the affinity and the
    container's quota leave, of which it knows the first alone.
    """
    import torch

    torch.set_num_threads(threads or min(torch.get_num_threads(), processors()))


def score_table(title: str, rows: Sequence[tuple[str, Sequence[Scored]]]) -> Any:
    """The mean of each row's cases in percent, a column a measure."""
    from rich.table import Table

    from train.records.reports import mean_score

    measures = rows[0][1][0].measures()
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for measure in measures:
        target, name = measure.rsplit("_", 1)
        table.add_column(
            f"{'Surface' if name == 'sd' else name.capitalize()}\n{target.replace('_', ' ')}", justify="right"
        )
    for words, scores in rows:
        mean = mean_score(scores)
        table.add_row(words, *(f"{100 * getattr(mean, measure):.2f}" for measure in measures))
    return table
