"""A run in numbers, for those who watch many: a Prometheus text file, and a line of JSON a case."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from kits_submit.atomic import finite, write_text
from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.errors import OutputError

_EVERY_SECONDS = 1.0
_STATUSES = ("done", "failed", "background")


class Metrics(Watcher):
    """Writes the file anew, whole, at most once a second, as node_exporter's textfile collector reads it.

    A file that cannot be written costs no case: the numbers are missing, and that is seen where they are read.

    Args:
        cases: that are to be done; `kept`: that an earlier run had done.
    """

    def __init__(self, path: Path, cases: int, kept: int) -> None:
        self._path, self._cases, self._kept = path, cases, kept
        self._ended: Counter[str] = Counter()
        self._began = time.monotonic()
        self._written = -_EVERY_SECONDS
        self._write()

    def case_ended(self, result: CaseResult) -> None:
        self._ended[result.status] += 1
        if time.monotonic() - self._written >= _EVERY_SECONDS or self._ended.total() == self._cases:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        with suppress(OutputError):
            write_text(self._path, self.text(self._written - self._began))

    def text(self, seconds: float) -> str:
        """The file, so many seconds after the run began."""
        ended = self._ended.total()
        left, rate = self._cases - ended, ended / seconds if seconds > 0 else 0.0
        lines = ["# HELP kits_cases_total Cases that have ended.", "# TYPE kits_cases_total counter"]
        lines += [f'kits_cases_total{{status="{status}"}} {self._ended[status]}' for status in _STATUSES]
        for name, about, value in (
            ("kits_cases_kept", "Cases that an earlier run had done.", self._kept),
            ("kits_cases_left", "Cases that have not ended.", left),
            ("kits_cases_per_second", "Since this run began.", rate),
            ("kits_seconds_left", "At that rate.", left / rate if rate else float("nan")),
        ):
            lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {value:.6g}".replace("nan", "NaN")]
        return "\n".join(lines) + "\n"


class CaseLog(Watcher):
    """Appends a line of JSON a case, as `run.json` has it, as it ends.

    Raises:
        OutputError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stream = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        except OSError as error:
            what = f"cannot be written ({error.strerror})"
            raise OutputError(what, fix="check the folder and its permissions", path=path) from None

    def case_ended(self, result: CaseResult) -> None:
        with suppress(OSError):
            self._stream.write(json.dumps(finite(result.entry())) + "\n")

    def close(self) -> None:
        """No case comes any more."""
        with suppress(OSError):
            self._stream.close()
