"""The only module of `evaluation` that prints: tables to stdout, progress and the last line of a failure to stderr."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kits_submit.console import drop, is_quiet, say
from kits_submit.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH = 100  # where the output is no terminal and COLUMNS says nothing
WIDEST = 1000


def show(renderable: RenderableType, *, wide: bool = False) -> None:
    """Print a table or a line to stdout; a reader that has gone (`| head`) is no failure.

    Args:
        wide: as wide as it is, whatever the terminal.

    Raises:
        OutputError: stdout cannot be written (a full disk).
    """
    if is_quiet():
        return
    try:
        _console(stderr=False, width=WIDEST if wide else None).print(renderable, soft_wrap=False)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
    except OSError as error:
        drop(sys.stdout)
        raise OutputError(f"stdout cannot be written ({error.strerror})", fix="use --csv or --json FILE") from None


def note(message: str) -> None:
    """Print one line to stderr, unwrapped, so that it can be searched for."""
    say(message)


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[object], None]]:
    """A bar on stderr while the block runs, told each finished piece; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda _: bar.advance(task)


class Stopped(BaseException):
    """A signal asked the program to end; no KeyboardInterrupt, which Typer would turn into a code of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Stopped` while the block runs."""

    def stop(number: int, _frame: object) -> None:
        raise Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _console(*, stderr: bool, width: int | None = None) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    told = stream.isatty() or os.environ.get("COLUMNS", "").isdigit()  # rich reads COLUMNS itself
    return Console(stderr=stderr, width=width or (None if told else WIDTH), highlight=False, markup=False, emoji=False)
