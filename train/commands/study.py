"""`kits-submit tune` and `kits-submit ablate`. torch is imported inside the commands alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kits_submit.errors import InputError
from kits_submit.machine.processors import processors
from train import best_of
from train.commands.shared import (
    ConfigOption,
    DataOption,
    DeviceOption,
    PrintOption,
    ThreadsOption,
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
    from train.config import TrainConfig
    from train.stage import StageResult
    from train.studies.ablation import Numbers


def tune_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `kits-submit train`.")],
    data: Annotated[Path | None, typer.Option(help="What it was trained on, if it lies elsewhere now.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that refine cases. Default: every core.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Search the postprocessing's thresholds on a run's held-out cases and write them into its Recipe."""
    from rich.console import Console

    need_torch()
    from train.compute.device import choose_device
    from train.fit.checkpoint import load_checkpoint
    from train.studies.study import told, tune_run

    given = Given(data).over(given_before(run)).check() if data is None else Given(data)
    source = given.interpolated or given.data or run / "phantoms"
    if not source.exists():
        raise InputError("the run has no phantoms of its own", fix="give --data, what it was trained on", path=run)
    path = best_of(run)
    if path is None:
        raise InputError("no checkpoint in it", fix="name a run folder of `kits-submit train`", path=run)
    before = load_checkpoint(path).recipe.refinement
    console = Console(stderr=True)
    with RunDisplay(console) as display:
        tuned, stage = tune_run(
            run,
            source,
            display,
            jobs=jobs or processors(),
            device=choose_device(device),
            on_trial=lambda trial: display.advanced(f"{trial.threshold} {trial.value}: {trial.dice:.4f}"),
        )
    rows = [("network alone", tuned.unrefined), ("as it was", tuned.before), ("tuned", tuned.after)]
    console.print(score_table(f"{len(tuned.after)} held-out cases", rows))
    line = f"{told(tuned.refinement, before)}; written into the Recipe of {stage}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@with_config_flags
def ablate_command(
    table: Annotated[int, typer.Option(help="The paper's table: 2 architectures, 3 Focal weights, 4 postprocessing.")],
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs. Default: runs/table2, ...")] = None,
    preset: Annotated[str, typer.Option(help="What each training starts from: paper or demo.")] = "paper",
    config_file: ConfigOption = None,
    print_config: PrintOption = False,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop each stage after this many minutes.")] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    **flags: Any,
) -> None:
    """Train the rows of one of the paper's tables and print it with the paper's numbers beside.

    Run it again to go on: rows that are done are read, one that was stopped goes on from its checkpoint.
    """
    from rich.console import Console

    from train.studies.ablation import configs, markdown, render, table_path, unlike_paper

    base = make_config(base_config(preset, config_file, named_preset("paper")), config_file, flags)
    grid = configs(table, base)
    if print_config:
        for name, config in grid.items():
            typer.echo(f"# {name}\n{printed(config)}")
        return
    if base.holdout == 0:
        raise InputError("no case is held out to compare on", fix="give --holdout above 0")
    need_torch()
    folder = out or Path("runs") / f"table{table}"
    console = Console(stderr=True)
    with RunDisplay(console) as display:
        result = _train_rows(table, grid, data, folder, minutes, display, device=device, threads=threads)
    if result is None:
        return
    from kits_submit.atomic import write_text

    ours, cases = result
    unlike = unlike_paper(base, minutes)
    write_text(table_path(folder, table), markdown(table, ours, cases, unlike))
    Console().print(render(table, ours, cases, unlike))


def _train_rows(
    table: int,
    grid: dict[str, TrainConfig],
    data: Path | None,
    out: Path,
    minutes: float | None,
    display: RunDisplay,
    *,
    device: str,
    threads: int | None,
) -> tuple[dict[str, Numbers], int] | None:
    """Our numbers and how many cases they are of, for the first worker; None for the others."""
    from train.compute.device import choose_device
    from train.compute.distributed import joined
    from train.fit.loop import Limits
    from train.place import Place
    from train.records.events import Events, Silence
    from train.run import Request, begin, run_training
    from train.studies.ablation import means

    set_threads(threads)
    chosen = choose_device(device)
    with joined(chosen) as workers:
        events: Events = display if workers.first else Silence()
        place = Place(workers, chosen, events)
        source = data or phantoms_of(out, next(iter(grid.values())), events, workers)
        results: dict[str, StageResult] = {}
        for name, config in grid.items():
            events.said(f"{name}: {out / name}")
            if workers.first:
                begin(out / name, config, resume=True)
            workers.gather(None)
            request = Request(source, out / name, config, Limits(minutes), cache=out / "cache")
            results[name] = run_training(request, place)
        if not workers.first:
            return None
        scores = {name: result.scores for name, result in results.items()}
        cases = len(next(iter(scores.values()))) // 2
        return means(table, scores), cases
