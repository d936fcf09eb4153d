"""Several watchers of one batch, each told in turn."""

from __future__ import annotations

from kits_submit.batch.outcome import CaseResult, Watcher


class Watchers(Watcher):
    """Tells each of `watchers`, in order."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def case_started(self, case: str) -> None:
        for watcher in self._watchers:
            watcher.case_started(case)

    def patches_done(self, done: int, total: int) -> None:
        for watcher in self._watchers:
            watcher.patches_done(done, total)

    def case_noted(self, case: str, note: str) -> None:
        for watcher in self._watchers:
            watcher.case_noted(case, note)

    def case_ended(self, result: CaseResult) -> None:
        for watcher in self._watchers:
            watcher.case_ended(result)
