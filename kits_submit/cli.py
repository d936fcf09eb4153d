"""`kits-submit`: its commands mounted, and failures told in one line.

Imports nothing that takes time before `main` has seen to it that a signal is told like any failure.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from kits_submit.places import reach_stages

if TYPE_CHECKING:
    from collections.abc import Callable

    import typer


def main(arguments: list[str] | None = None, translate: Callable[[list[str]], list[str]] = list) -> None:
    """Run `kits-submit` and exit with the code of `kits_submit.errors`.

    Args:
        arguments: in place of the process's own.
        translate: makes them those of `kits-submit`; its failures are told like any.
    """
    from kits_submit.console import run_guarded

    reach_stages()
    given = sys.argv[1:] if arguments is None else arguments
    wanted = [argument for argument in given if argument not in ("--debug", "--quiet")]
    code = run_guarded(lambda: _dispatch(translate(wanted)), debug="--debug" in given, quiet="--quiet" in given)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # all is told and written
    sys.exit(code)


def evaluate() -> None:
    """Run `kits-eval` and exit with the code of `kits_submit.errors`."""
    reach_stages()
    from evaluation.cli import main as scored

    sys.exit(scored())


class Command(NamedTuple):
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
    "merge": Command(
        "kits_submit.commands.merge", "merge_command",
        "Put the shards of a run together: run.json, and scores as the whole run would have written them.",
    ),
    "report": Command(
        "kits_submit.commands.report", "report_command",
        "Write one self-contained page of a run: a table to sort, plots, pictures, and a viewer with the scans in it.",
    ),
    "view": Command(
        "kits_submit.commands.view", "view_command",
        "Look at one case at full resolution: a viewer in the browser, served to this machine alone until Ctrl-C.",
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
    "adopt": Command(
        "export.adopt.cli", "adopt_command",
        "Write another framework's network as one ONNX file with its Recipe inside, checked against torch.",
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
    import typer

    from kits_submit.usage import HELP_NAMES

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings=HELP_NAMES,
        help="Kidney-tumor segmentation for KiTS: train, export, and run in a container.",
    )
    for name, command in COMMANDS.items():
        if wanted in (None, name):
            app.command(name)(command.load())
        else:
            app.command(name, help=command.help)(lambda: None)
    return app


def _command_of(arguments: list[str]) -> str:
    """The first word that is no option; empty where there is none."""
    return next((argument for argument in arguments if not argument.startswith("-")), "")


def _dispatch(arguments: list[str]) -> int:
    from kits_submit.usage import call

    return call(build_app(_command_of(arguments)), "kits-submit", arguments)
