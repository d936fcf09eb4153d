"""The only module of the runtime that prints: tables on stdout; progress and errors on stderr, the error last."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.errors import KitsError

if TYPE_CHECKING:
    from rich.table import Table

    from kits_submit.rehearsal.rehearse import Rehearsal
    from kits_submit.rehearsal.terms import Budget, Limit

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


class Progress(Watcher):
    """A bar for the cases and one for the patches of the case at hand; silent where stderr is no terminal."""

    def __init__(self, cases: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._cases = self._bars.add_task("cases", total=cases)
        self._patches = self._bars.add_task("patches", total=None)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def case_started(self, case: str) -> None:
        self._bars.reset(self._patches, total=None, description=f"  {case} patches")

    def patches_done(self, done: int, total: int) -> None:
        self._bars.update(self._patches, completed=done, total=total)

    def case_ended(self, result: CaseResult) -> None:
        self._bars.advance(self._cases)
        if result.error:
            self._bars.stop()
            instead = "; an all-background mask stands in its place" if result.prediction else ""
            say(f"failed: {result.case}: {result.error}{instead}")
            if _debugging.get():
                say(result.trace)
            self._bars.start()


def case_table(results: Sequence[CaseResult]) -> Table:
    """What a run did: a row a case."""
    from rich.table import Table

    table = Table(title="Segmented", title_justify="left")
    for heading in (
        "case",
        "shape Z Y X",
        "spacing mm",
        "axes",
        "kidney mL",
        "tumor mL",
        "network s",
        "all s",
        "peak MB",
    ):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for result in results:
        if result.error:
            table.add_row(result.case, f"[red]{result.status}[/red]")
            continue
        table.add_row(
            result.case,
            " ".join(str(n) for n in result.shape),
            " ".join(f"{s:.3g}" for s in result.spacing_mm),
            result.orientation,
            f"{result.volume_ml['kidney']:.1f}",
            f"{result.volume_ml['tumor']:.1f}",
            f"{result.seconds['network']:.1f}",
            f"{result.total_seconds:.1f}",
            f"{result.peak_mb:.0f}",
        )
    return table


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


def rehearsal_tables(rehearsal: Rehearsal, budget: Budget, cage: str, limits: Sequence[Limit]) -> list[Table]:
    """What a rehearsal took, a row a case, and how each limit was held."""
    from rich.table import Table

    taken = Table(title=f"Rehearsed: {cage}", title_justify="left")
    for heading in ("case", "status", "seconds", "peak MB", "memory GB s", "GPU peak MB", "GPU GB s"):
        taken.add_column(heading, justify="left" if heading in ("case", "status") else "right")
    whole = ("whole run", f"exit {rehearsal.exit_code}", rehearsal.whole)
    for case, status, used in (*rehearsal.cases, whole):
        gpu = (f"{used.gpu / 1e6:.0f}", f"{used.gpu_byte_seconds / 1e9:.1f}") if rehearsal.sees_gpu else ("-", "-")
        figures = (f"{used.seconds:.1f}", f"{used.resident / 1e6:.0f}", f"{used.byte_seconds / 1e9:.1f}")
        taken.add_row(case, status, *figures, *gpu)
    each = "" if budget.case_seconds is None else f", {budget.case_seconds:g} s a case"
    held = Table(
        title=f"Limits: {budget.memory_bytes / 1e9:.2f} GB, {budget.seconds:g} s{each}, {budget.files} files, "
        f"{budget.processes} processes and threads (had {rehearsal.whole.threads})",
        title_justify="left",
    )
    for heading in ("limit", "enforced", "how"):
        held.add_column(heading)
    for limit in limits:
        held.add_row(limit.name, "yes" if limit.enforced else "[yellow]no[/yellow]", limit.how)
    return [taken, held]


class _Stopped(BaseException):
    """A signal asked us to end; no KeyboardInterrupt, for Typer would turn that into a code of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def _stop(number: int, _frame: FrameType | None) -> None:
    raise _Stopped(number)
