"""How both command lines look and fail: help alike, options that every command has, a usage error in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from kits_submit import __version__
from kits_submit.errors import UsageError

if TYPE_CHECKING:
    import typer

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
EVERYWHERE = ("--debug", "--quiet")  # of any command, looked for before a command line is parsed


def call(app: typer.Typer, name: str, arguments: Sequence[str]) -> int:
    """Run a command line; its exit code.

    Raises:
        UsageError: Typer does not take it.
    """
    import typer

    if "" in arguments:
        raise UsageError("an argument is empty", fix="an unset variable? give a path, or . for this folder")
    wanted = [argument for argument in arguments if argument not in EVERYWHERE]
    if wanted[:1] == ["--version"]:
        typer.echo(f"{name} {__version__}")
        return 0
    usage_error: Any = typer.BadParameter.__base__  # Typer exports this child alone of the Click that it carries
    command = typer.main.get_command(app)
    _finish_help(command)
    try:
        result = command(args=wanted or ["--help"], prog_name=name, standalone_mode=False)
    except typer.Exit as done:
        return done.exit_code
    except usage_error as error:
        context = getattr(error, "ctx", None)
        asked = name if context is None else context.command_path
        told = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
        raise UsageError(told, fix=f"see `{asked} --help`") from None
    return result if isinstance(result, int) else 0


def _finish_help(command: Any, *, top: bool = True) -> None:
    """List what every command has, and no type beside a flag."""
    for inner in getattr(command, "commands", {}).values():
        _finish_help(inner, top=False)
    command.context_settings = {**command.context_settings, **HELP_NAMES}
    named = {name for param in command.params for name in param.opts}
    command.params += [param for param in _everywhere(top=top) if not named & set(param.opts)]
    help_option = command.get_help_option(command.make_context("", [], resilient_parsing=True))
    for param in (*command.params, help_option):
        if getattr(param, "is_flag", False):
            param.metavar = ""


def _everywhere(*, top: bool) -> list[Any]:
    import typer

    options = typer.Typer()
    options.command()(_common)
    found = [
        param
        for param in typer.main.get_command(options).params
        if set(param.opts) & {*EVERYWHERE, *(("--version",) if top else ())}
    ]
    for param in found:
        param.expose_value = False
    return found


def _typer_option(*names: str, text: str) -> Any:
    import typer

    return typer.Option(*names, help=text)


def _common(
    *,
    debug: Annotated[bool, _typer_option("--debug", text="Show where a failure happened.")] = False,
    version: Annotated[bool, _typer_option("--version", text="Print the version and exit.")] = False,
    quiet: Annotated[bool, _typer_option("--quiet", text="Say nothing but failures.")] = False,
) -> None: ...
