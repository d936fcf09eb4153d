"""What `kits-submit` answers before any command."""

from __future__ import annotations

from typing import Annotated

import typer

from kits_submit import __version__


def _tell(asked: bool) -> None:
    if asked:
        typer.echo(f"kits-submit {__version__}")
        raise typer.Exit


def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_tell)
    ] = False,
) -> None:
    """Options of no command."""
