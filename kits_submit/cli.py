"""`kits-submit`: its commands mounted, and failures told in one line.

Imports nothing that takes time before `main` has seen to it that a signal is told like any failure.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

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

    given = sys.argv[1:] if arguments is None else arguments
    wanted = [argument for argument in given if argument not in ("--debug", "--quiet")]
    code = run_guarded(lambda: _dispatch(translate(wanted)), debug="--debug" in given, quiet="--quiet" in given)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # all is told and written
    sys.exit(code)


def build_app() -> typer.Typer:
    """The Typer application, every command mounted."""
    import typer

    from evaluation.cli import score
    from export.cli import export_command
    from kits_submit.commands.doctor import doctor_command
    from kits_submit.commands.gpu_check import gpu_check_command
    from kits_submit.commands.phantom import phantom_command
    from kits_submit.commands.rehearse import rehearse_command
    from kits_submit.commands.run import run_command
    from kits_submit.usage import HELP_NAMES
    from train.commands.implant import implant_command
    from train.commands.study import ablate_command, tune_command
    from train.commands.train import train_command

    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings=HELP_NAMES,
        help="Kidney-tumor segmentation for KiTS: train, export, and run in a container.",
    )
    app.command("run")(run_command)
    app.command("phantom")(phantom_command)
    app.command("implant")(implant_command)
    app.command("train")(train_command)
    app.command("tune")(tune_command)
    app.command("ablate")(ablate_command)
    app.command("export")(export_command)
    app.command("evaluate", short_help="Score masks against label maps (kits-eval score).")(score)
    app.command("doctor")(doctor_command)
    app.command("gpu-check")(gpu_check_command)
    app.command("rehearse")(rehearse_command)
    return app


def _dispatch(arguments: list[str]) -> int:
    from kits_submit.usage import call

    return call(build_app(), "kits-submit", arguments)
