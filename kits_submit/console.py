"""How the runtime prints: tables on stdout; lines and errors on stderr, the error last. Knows no cases."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from kits_submit.errors import KitsError, OutputError, printable

if TYPE_CHECKING:
    from rich.table import Table

_STDERR = 2
_AGAIN = "run again"
_PLAIN_WIDTH = 110  # of a table in a file or a pipe
_debugging = ContextVar("debugging", default=False)
_quiet = ContextVar("quiet", default=False)
_way_on = ContextVar("way_on", default=_AGAIN)


def hold_streams() -> None:
    """Make stdout and stderr safe to write to: closed ones go nowhere, what an encoding lacks is written as escapes.

    A closed descriptor is taken first, or the next file that is opened (a mask) would get its number.
    """
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
            os.set_inheritable(number, True)  # noqa: FBT003
        os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(*tables: Table | None) -> None:
    """Print tables on stdout, whole where there is no terminal to measure; a reader that has gone is no failure."""
    if _quiet.get():
        return
    from rich.console import Console

    class Stdout(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    plain = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    console = Stdout(width=plain, highlight=False, markup=False, emoji=False)
    try:
        for table in tables:
            if table is not None:
                console.print(table)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
    except OSError as error:
        drop(sys.stdout)
        say(f"note: the tables cannot be printed ({error.strerror})")


def show_json(document: Mapping[str, Any]) -> None:
    """Print a document on stdout, for scripts.

    Raises:
        OutputError: stdout cannot be written; a reader that has gone is no failure.
    """
    import json

    from kits_submit.atomic import finite

    try:
        sys.stdout.write(json.dumps(finite(document), indent=2) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
    except OSError as error:
        drop(sys.stdout)
        raise OutputError(f"stdout cannot be written ({error.strerror})", fix="read run.json") from None


def width() -> int:
    """Columns that a table on stdout has."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH


def say(text: str) -> None:
    """One line on stderr, never wrapped; nobody there to read it is no failure."""
    if _quiet.get() and text.startswith(("note: ", "kept: ")):
        return
    try:
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        drop(sys.stderr)


def drop(stream: TextIO) -> None:
    """Let a stream whose reader has gone, or whose disk is full, go nowhere: the interpreter's exit flushes it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def run_guarded(body: Callable[[], int], *, debug: bool, quiet: bool = False) -> int:
    """Run a command; a failure becomes one last line on stderr and its exit code, a traceback only with `debug`.

    Args:
        quiet: nothing is said but failures.
    """
    _debugging.set(debug)
    _way_on.set(_AGAIN)
    _quiet.set(quiet)
    hold_streams()
    stop_on_signals()
    try:
        return body()
    except (Exception, Stopped) as error:
        failure, code = _told(_stopped[-1] if _stopped else error)
        if debug:
            say_trace(traceback.format_exc())
    finally:
        _quiet.set(False)
    say(f"error: {failure}")
    return code


def say_trace(trace: str) -> None:
    """A traceback on stderr, for `--debug`."""
    for line in trace.splitlines():
        say(line)


def be_quiet() -> None:
    """Say nothing but failures."""
    _quiet.set(True)


def goes_on_with(command: str) -> None:
    """A command that is stopped from now on says that this one goes on from there."""
    _way_on.set(f"go on with: {command}")


def is_quiet() -> bool:
    """Whether the user asked for nothing but failures."""
    return _quiet.get()


def debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return _debugging.get()


def _told(error: BaseException) -> tuple[str, int]:
    if isinstance(error, KitsError):
        return str(error), error.exit_code
    if isinstance(error, Stopped):
        return f"{error}; what is written is whole, {_way_on.get()}", error.exit_code
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
    try:
        sys.stdout.write(f"verdict: {printable(text)}\n")
        sys.stdout.flush()
    except OSError:
        drop(sys.stdout)


class Stopped(BaseException):
    """A signal asked us to end; no KeyboardInterrupt, for Typer would turn that into a code of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


_stopped: list[Stopped] = []  # a library that is being imported may turn the exception into one of its own


def stop_on_signals() -> None:
    """SIGINT and SIGTERM raise `Stopped` from now on."""
    _stopped.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    _stopped.append(Stopped(number))
    raise _stopped[-1]
