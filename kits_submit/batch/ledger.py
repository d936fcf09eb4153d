"""`run.json` while a run goes on: rewritten after each case, so that a run that was stopped can be resumed from it.

A case is done already when its entry says so under the same key, and its mask stands there with the same content. The
key is a hash of the input's content, the model's file, the Recipe, the patch plan and this program's version: change
one, and the case is done again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from kits_submit.atomic import write_json
from kits_submit.batch.manifest import MANIFEST, Provenance
from kits_submit.batch.outcome import CaseResult, Watcher
from kits_submit.errors import OutputError
from kits_submit.files.cases import Case, prediction_path
from kits_submit.files.dicom.discover import SUFFIX as SERIES
from kits_submit.files.dicom.discover import series_content

_State = tuple[int, int, int]  # of a file: inode, size, time of change
_FIELDS = {f.name for f in fields(CaseResult)} - {"trace"}


class Ledger(Watcher):
    """The manifest of one run, written after each case.

    Args:
        output: the folder that holds `run.json` and the masks.
        fresh: forget what an earlier run did.
    """

    def __init__(self, cases: Sequence[Case], output: Path, provenance: Provenance, *, fresh: bool = False) -> None:
        self._cases = {case.case_id: case for case in cases}
        self._output = output
        self._provenance = provenance
        self._states = {case.case_id: _state(case.image) for case in cases}
        self._results: dict[str, CaseResult] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self._started: dict[str, float] = {}
        if not fresh:
            self._keep(_entries(output / MANIFEST))
        self.write(None)

    @property
    def results(self) -> list[CaseResult]:
        """Of the cases done so far, in the order of the input."""
        return [self._results[case] for case in self._cases if case in self._results]

    def case_started(self, case: str) -> None:
        self._started[case] = time.time()

    def case_ended(self, result: CaseResult) -> None:
        """Record it and write the manifest; where that fails (full disk), the run's last write will tell."""
        ended = time.time()
        self._results[result.case] = result
        self._notes[result.case] = {"started": self._started.get(result.case, ended), "ended": ended}
        if result.status == "done":
            self._notes[result.case] |= self._proof(result.case)
        with suppress(OutputError):
            self.write(None)

    def write(self, exit_code: int | None) -> None:
        """Write `run.json`.

        Raises:
            OutputError: it cannot be written.
        """
        document = self._provenance.document(self.results, exit_code)
        for entry in document["cases"]:
            entry.update(self._notes.get(entry["case"], {}))
        write_json(self._output / MANIFEST, document)

    def _keep(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        for case in self._cases:
            entry = entries.get(case)
            if entry is None or entry.get("status") != "done" or "key" not in entry:
                continue
            proof = self._proof(case)
            if proof and all(entry.get(name) == value for name, value in proof.items()):
                with suppress(TypeError):
                    self._results[case] = CaseResult(**{name: entry[name] for name in _FIELDS if name in entry})
                    self._notes[case] = {**proof, "kept": True}

    def _proof(self, case: str) -> dict[str, str]:
        """`key` and `mask_sha256`; empty where a file cannot be read or the input changed since this run began."""
        image = self._cases[case].image
        if image is None or self._states[case] is None:
            return {}
        try:
            content = series_content(image) if image.suffix == SERIES else _sha256(image)
            mask = _sha256(self._output / prediction_path(case, image))
        except OSError:
            return {}
        if _state(image) != self._states[case]:
            return {}
        return {"key": hashlib.sha256(f"{content} {self._provenance.key}".encode()).hexdigest(), "mask_sha256": mask}


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    """An earlier run's cases; empty where there is no such run, or its file is not ours."""
    try:
        document = json.loads(path.read_bytes())
        return {entry["case"]: entry for entry in document["cases"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _state(path: Path | None) -> _State | str | None:
    if path is None:
        return None
    if path.suffix == SERIES:
        return series_content(path)
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
