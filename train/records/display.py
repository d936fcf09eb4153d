"""What a person sees of a training: a bar a stage on a terminal; in a log one line a stage and one a minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from train.records.reports import Scored, StepReport

LOG_EVERY_S = 60.0
_RECENT = 20


class RunDisplay:
    """`train.records.events.Events` for a person."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started = self._told = self._begun = clock()
        self._progress = _bars(console)
        self._task: TaskID | None = None
        self._speeds: deque[tuple[int, float]] = deque(maxlen=_RECENT)

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def said(self, text: str) -> None:
        """One line, above the bars."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stage(self, name: str, total: int | None) -> None:
        """A new bar."""
        self._finish()
        self._begun = self._clock()
        if not self._console.is_terminal:
            self.said(f"{self._minutes()} {name}" + (f" ({total} cases)" if total is not None else ""))
        self._task = self._progress.add_task(name, total=1.0 if total is None else total, note="")

    def advanced(self, what: str) -> None:
        """One case done; in a log, once a minute, how many are and how long the rest will take."""
        if self._task is None:
            return
        self._progress.update(self._task, advance=1, note=what)
        task = next(task for task in self._progress.tasks if task.id == self._task)
        total, due = task.total or 0, self._clock() - self._told >= LOG_EVERY_S
        if due and not self._console.is_terminal and task.completed <= total:
            self._told = self._clock()
            left = (self._clock() - self._begun) / task.completed * (total - task.completed)
            done = f"{task.completed:.0f} of {total:.0f}"
            self.said(f"{self._minutes()} {task.description} {done}, about {left / 60:.0f} min left")

    def stepped(self, report: StepReport) -> None:
        """One training step done."""
        self._speeds.append((report.patches, report.seconds))
        patches, seconds = (sum(column) for column in zip(*self._speeds, strict=True))
        note = (
            f"step {report.step} loss {report.loss:.3f} (tversky {report.tversky:.3f}, focal {report.focal:.4f}) "
            f"rate {report.learning_rate:.1e} {patches / max(seconds, 1e-9):.1f} patches/s"
        )
        if report.gpu_mb:
            note += f" GPU {report.gpu_mb / 1000:.1f} GB"
        if self._task is not None:
            self._progress.update(self._task, completed=report.progress, note=note)
        if not self._console.is_terminal and self._clock() - self._told >= LOG_EVERY_S:
            self._told = self._clock()
            self.said(f"{self._minutes()} {report.progress:.0%} {note}")

    def scored(self, score: Scored) -> None:
        """One held-out case scored."""
        told = (f"{_words(name)} {getattr(score, name):.3f}" for name in score.shown())
        self.said(f"{score.case_id}: Dice {', '.join(told)} (unrefined)")
        self.advanced(score.case_id)

    def _finish(self) -> None:
        """The bar of the stage before stands at its end, whatever stopped it."""
        if self._task is not None:
            total = self._progress.tasks[self._task].total
            self._progress.update(self._task, completed=total or 0)

    def _minutes(self) -> str:
        return f"{(self._clock() - self._started) / 60:5.1f} min"


def _words(measure: str) -> str:
    return measure.removesuffix("_dice").replace("_", " ")


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description:>11}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
