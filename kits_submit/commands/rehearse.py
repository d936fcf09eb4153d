"""`kits-submit rehearse`: the judge's run on one's own machine."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kits_submit.commands.options import Device, DeviceOption, ModelOption
from kits_submit.errors import BudgetError, InputError
from kits_submit.places import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kits_submit.rehearsal.cage import Cage
    from kits_submit.rehearsal.rehearse import Rehearsal
    from kits_submit.rehearsal.terms import Budget

_REHEARSED_BEFORE = "it has a run.json"


def rehearse_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of KiTS cases, or one image.")],
    *,
    memory: Annotated[
        str | None, typer.Option(help="What all processes may take together: 16g, 512m. Default: the round's.")
    ] = None,
    judged: Annotated[str, typer.Option("--round", help="Whose limits: kits19 (16g), kits23 (24g).")] = "kits19",
    seconds: Annotated[float, typer.Option(min=0.1, help="What the whole run may take.")] = 600.0,
    case_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="What each case may take. Default: no limit of its own.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes and threads together.")] = 256,
    files: Annotated[int, typer.Option(min=16, help="Open files of a process.")] = 1024,
    output: Annotated[
        Path | None, typer.Option(help="Keep masks, scores and run.json in this folder. Default: they are dropped.")
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = Device.auto,
    engine: Annotated[str, typer.Option(help="auto, docker, podman, or none: this system's own limits.")] = "auto",
    image: Annotated[str, typer.Option(help="The image that docker or podman runs.")] = "kits-submit",
) -> None:
    """Run INPUT as a judge would, and say whether it fits: time, memory, GPU memory, area under memory over time.

    Under Docker or Podman where the image is; elsewhere under the limits that this system grants, each of which is
    listed with how it was held. Exit code 0 if it fits, 11 if not, the run's own if it failed.
    """
    from kits_submit.console import say, show
    from kits_submit.files.rounds import round_of
    from kits_submit.rehearsal.cage import snapshot
    from kits_submit.rehearsal.rehearse import rehearse
    from kits_submit.rehearsal.tables import rehearsal_tables
    from kits_submit.rehearsal.terms import Budget, parse_bytes

    budget = Budget(parse_bytes(memory or round_of(judged).memory), seconds, case_seconds, processes, files)
    _refuse_unusable(source, output)
    before = snapshot(source)
    with _folder(output) as out, _cage(source, out, budget, model, device, engine, image) as cage:
        rehearsal = rehearse(cage, budget, out, say)
        show(*rehearsal_tables(rehearsal, budget, cage.name, cage.limits))
    touched = sorted(path for path, state in snapshot(source).items() if before.get(path) != state)
    _judge(rehearsal, budget, touched)


def _judge(rehearsal: Rehearsal, budget: Budget, touched: list[str]) -> None:
    """Print the verdict; raise or exit where it is bad."""
    from kits_submit.console import say, verdict

    if touched:
        raise InputError(f"the run changed its input ({len(touched)} files)", fix="keep it read-only", path=touched[0])
    if rehearsal.misfits:
        raise BudgetError(f"does not fit: {'; '.join(rehearsal.misfits)}", fix="see the table")
    if rehearsal.exit_code:
        say(f"error: the run failed with exit code {rehearsal.exit_code}: {rehearsal.last_line}")
        raise typer.Exit(rehearsal.exit_code)
    verdict(f"fits: {rehearsal.whole.seconds:.1f} s of {budget.seconds:g} s, "
            f"{rehearsal.whole.resident / 1e9:.2f} GB of {budget.memory_bytes / 1e9:.2f} GB")  # fmt: skip


def _refuse_unusable(source: Path, output: Path | None) -> None:
    from kits_submit.files.cases import find_cases
    from kits_submit.files.output import MANIFEST

    find_cases(source)
    if output is not None and (output / MANIFEST).exists():
        raise InputError(
            _REHEARSED_BEFORE, fix="give an empty folder, for cases done already would be kept", path=output
        )


@contextlib.contextmanager
def _folder(output: Path | None) -> Iterator[Path]:
    """The folder to write into, which any user may (a container's has another id)."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="kits-rehearse-") as scratch:
        Path(scratch).chmod(0o777)
        yield Path(scratch)


@contextlib.contextmanager
def _cage(source: Path, out: Path, budget: Budget, model: Path, device: str, engine: str, image: str) -> Iterator[Cage]:
    from kits_submit.console import say
    from kits_submit.engine.select import gpu_present
    from kits_submit.rehearsal.cage import ContainerCage, ProcessCage, find_engine

    chosen, reason = find_engine(engine, image)
    cage: Cage
    if chosen is None:
        if reason:
            say(f"note: without a container ({reason})")
        cage = ProcessCage(source, out, budget, ["--model", str(model.resolve()), "--device", device])
    else:
        cage = ContainerCage(chosen, image, source, out, budget, ["--device", device], gpu=gpu_present())
    try:
        yield cage
    finally:
        cage.close()
