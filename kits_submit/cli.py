"""`kits-submit`: its commands mounted, and failures told in one line."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kits_submit import __version__
from kits_submit.places import reach_stages

if TYPE_CHECKING:
    from collections.abc import Callable

WRONG_USAGE = 2


def main(arguments: list[str] | None = None, translate: Callable[[list[str]], list[str]] = list) -> None:
    """Run `kits-submit` and exit with the code of `kits_submit.errors`.

    Args:
        arguments: in place of the process's own.
        translate: makes them those of `kits-submit`; its failures are told like any.
    """
    from kits_submit.console import run_guarded

    reach_stages()
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    wanted = [argument for argument in given if argument != "--debug"]
    sys.exit(run_guarded(lambda: _dispatch(translate(wanted)), debug=debug))


def evaluate() -> None:
    """Run `kits-eval` and exit with the code of `kits_submit.errors`."""
    reach_stages()
    from evaluation.cli import main as scored

    sys.exit(scored())


@dataclass(frozen=True)
class Command:
    """Where a command lies, and the line of help that the list of commands shows: its docstring's first."""

    module: str
    function: str
    help: str

    def load(self) -> Callable[..., Any]:
        """The function, its module imported."""
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return found


COMMANDS = {
    "run": Command(
        "kits_submit.commands.run", "run_command",
        "Segment each case of INPUT, write masks on the input's exact grid, and score them where labels are.",
    ),
    "series": Command(
        "kits_submit.commands.series", "series_command",
        "List the series of a DICOM export: slices, spacing, phase, and why one cannot be segmented.",
    ),
    "phantom": Command(
        "kits_submit.commands.phantom", "phantom_command",
        "Draw synthetic KiTS cases: an abdomen with kidneys, cysts and tumors, in KiTS's own layout and geometry.",
    ),
    "implant": Command(
        "train.commands.implant", "implant_command",
        "Draw tumors and cysts into the kidneys of real, labelled CT, for training and for testing.",
    ),
    "train": Command(
        "train.commands.train", "train_command",
        "Train on labelled CT, or on phantoms: checkpoints that carry their Recipe, curves, held-out scores.",
    ),
    "tune": Command(
        "train.commands.study", "tune_command",
        "Search the postprocessing's thresholds on a run's held-out cases and write them into its Recipe.",
    ),
    "ablate": Command(
        "train.commands.study", "ablate_command",
        "Train the rows of one of the paper's tables and print it with the paper's numbers beside.",
    ),
    "export": Command(
        "export.cli", "export_command",
        "Write a checkpoint as one ONNX file with its Recipe inside, checked against torch.",
    ),
    "evaluate": Command(
        "evaluation.cli", "score",
        "Score each case of PREDICTIONS against LABELS: geometry first, then the protocol's measures.",
    ),
    "doctor": Command(
        "kits_submit.commands.doctor", "doctor_command",
        "Say what would run here and why, whether the model is whole, and whether memory and disk suffice.",
    ),
    "gpu-check": Command(
        "kits_submit.commands.gpu_check", "gpu_check_command",
        "On a machine with an NVIDIA GPU: CUDA, other forms of the model and TensorRT against the CPU.",
    ),
    "rehearse": Command(
        "kits_submit.commands.rehearse", "rehearse_command",
        "Run INPUT as a judge would, and say whether it fits: time, memory, GPU memory, area under memory over time.",
    ),
}  # fmt: skip


def build_app(wanted: str | None = None) -> typer.Typer:
    """The Typer application.

    Args:
        wanted: the command that is called: it alone is imported, and the others are their names and a line of help.
            None imports all.
    """
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="Kidney-tumor segmentation for KiTS: train, export, and run in a container. "
        "Add [bold]--debug[/bold] to any command to see tracebacks.",
    )
    for name, command in COMMANDS.items():
        if wanted in (None, name):
            app.command(name)(command.load())
        else:
            app.command(name, help=command.help)(lambda: None)
    app.callback()(_root)
    return app


def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"kits-submit {__version__}")
        raise typer.Exit


def _command_of(arguments: list[str]) -> str:
    """The first word that is no option; empty where there is none."""
    return next((argument for argument in arguments if not argument.startswith("-")), "")


def _dispatch(arguments: list[str]) -> int:
    """Typer's usage errors in our form: one last line, no box drawn around it."""
    from kits_submit.console import say

    usage_error: Any = typer.BadParameter.__base__  # Typer exports this child alone of the Click that it carries
    try:
        result = build_app(_command_of(arguments))(
            args=arguments or ["--help"], prog_name="kits-submit", standalone_mode=False
        )
    except typer.Exit as done:
        return done.exit_code
    except usage_error as error:
        context = getattr(error, "ctx", None)
        command = "kits-submit" if context is None else context.command_path
        say(f"error: {' '.join(error.format_message().split())}; see `{command} --help`")
        return WRONG_USAGE
    return result if isinstance(result, int) else 0
