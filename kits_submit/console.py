"""How the runtime prints: tables on stdout; lines and errors on stderr, the error last. Knows no cases."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING

from kits_submit.errors import KitsError

if TYPE_CHECKING:
    from rich.table import Table

_PLAIN_WIDTH = 110  # of a table in a file or a pipe
_debugging = ContextVar("debugging", default=False)


def show(*tables: Table | None) -> None:
    """Print tables on stdout, whole where there is no terminal to measure; a reader that has gone is no failure."""
    from rich.console import Console

    class Stdout(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    plain = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    console = Stdout(width=plain, highlight=False)
    try:
        for table in tables:
            if table is not None:
                console.print(table)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's exit flushes into it


def say(text: str) -> None:
    """One line on stderr, never wrapped."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def run_guarded(body: Callable[[], int], *, debug: bool) -> int:
    """Run a command; a failure becomes one last line on stderr and its exit code, a traceback only with `debug`."""
    _debugging.set(debug)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        return body()
    except (Exception, _Stopped) as error:
        if debug:
            traceback.print_exc()
        failure, code = _told(error)
    say(f"error: {failure}")
    return code


def debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return _debugging.get()


def _told(error: BaseException) -> tuple[str, int]:
    if isinstance(error, KitsError):
        return str(error), error.exit_code
    if isinstance(error, _Stopped):
        return f"{error}; what is written is whole, run again (train: --resume)", error.exit_code
    return f"unexpected {type(error).__name__}; run again with --debug and report it", KitsError.exit_code


def close(failures: Sequence[tuple[str, int]], cases: int) -> None:
    """End a batch in which something failed by the one line that a judge shows.

    Args:
        failures: (message, exit code) of each, already told when they happened.
        cases: how many the batch had.
    """
    if failures:
        more = f" (and {len(failures) - 1} more of {cases} cases: see run.json)" if len(failures) > 1 else ""
        say(f"error: {failures[0][0]}{more}")


def facts_table(title: str, facts: Sequence[tuple[str, str]]) -> Table:
    """Two columns without heads."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in facts:
        table.add_row(name, value)
    return table


def verdict(text: str) -> None:
    """The one line on stdout that a rehearsal comes down to."""
    sys.stdout.write(f"verdict: {text}\n")
    sys.stdout.flush()


class _Stopped(BaseException):
    """A signal asked us to end; no KeyboardInterrupt, for Typer would turn that into a code of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def _stop(number: int, _frame: FrameType | None) -> None:
    raise _Stopped(number)
