"""A batch on a terminal while it runs."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.console import debugging, is_quiet, say, say_trace
from kits_submit.errors import printable


class Progress(Watcher):
    """A bar for the cases and one for the patches of the case at hand; silent where stderr is no terminal."""

    def __init__(self, cases: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=is_quiet() or not sys.stderr.isatty(),
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
        self._bars.reset(self._patches, total=None, description=f"  {printable(case)} patches")

    def patches_done(self, done: int, total: int) -> None:
        self._bars.update(self._patches, completed=done, total=total)

    def case_noted(self, case: str, note: str) -> None:
        self._say(f"note: {case}: {note}")

    def _say(self, text: str) -> None:
        """A line above the bars."""
        self._bars.stop()
        say(text)
        self._bars.start()

    def case_ended(self, result: CaseResult) -> None:
        self._bars.advance(self._cases)
        if result.error:
            instead = "; an all-background mask stands in its place" if result.prediction else ""
            self._say(f"failed: {result.case}: {result.error}{instead}")
            if debugging():
                say_trace(result.trace)
