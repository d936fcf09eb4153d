"""What a training tells while it runs, and one that tells nothing."""

from __future__ import annotations

from typing import Protocol

from train.records.reports import Scored, StepReport


class Events(Protocol):
    """Heard by a display, a test, or nobody."""

    def said(self, text: str) -> None:
        """One line worth telling."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins; `total`: how many calls of `advanced` it will make, None where progress is a fraction."""

    def advanced(self, what: str) -> None:
        """One case of the stage is done."""

    def stepped(self, report: StepReport) -> None:
        """One training step is done."""

    def scored(self, score: Scored) -> None:
        """One held-out case is scored."""


class Silence:
    """Events that nobody hears: of all workers but the first."""

    def said(self, text: str) -> None: ...

    def stage(self, name: str, total: int | None) -> None: ...

    def advanced(self, what: str) -> None: ...

    def stepped(self, report: StepReport) -> None: ...

    def scored(self, score: Scored) -> None: ...
