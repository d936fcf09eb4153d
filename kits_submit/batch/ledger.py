"""The record of one run, from which a run that was stopped is resumed: `run.jsonl` as it goes, `run.json` at its end.

A case is done already when its entry says so under the same key, and its mask stands there with the same content. The
key is a hash of the input's content, the model's file, the Recipe, the patch plan and this program's version: change
one, and the case is done again. A mask of an earlier run whose case now fails is removed: what stands under a final
name is of the run that `run.json` tells of.

Of a part of a run (`--shard`) the files are the part's own, and `kits_submit.batch.merge` makes one of them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kits_submit.atomic import remove, write_json
from kits_submit.batch.journal import Journal, end_journals, entries
from kits_submit.batch.manifest import Provenance
from kits_submit.batch.outcome import CaseResult, Watcher, result_of_entry
from kits_submit.batch.proof import Prover, first_state
from kits_submit.errors import OutputError
from kits_submit.files.cases import Case
from kits_submit.files.dicom.objects import ALSO, beside
from kits_submit.files.output import JOURNAL, MANIFEST
from kits_submit.files.parts import WHOLE, Part


class Ledger(Watcher):
    """The record of one run, kept after each case; as a context, it is whole in `run.json` when the block ends.

    - `summaries`: files beside the masks that this run has written, which a later one may replace.

    Args:
        output: the folder that holds `run.json` and the masks.
        fresh: forget what an earlier run did.
        part: of a run, whose cases these are.
        more: what else `run.json` tells.
        also: what stands beside the mask of a DICOM series: kinds of `kits_submit.files.dicom.objects.ALSO`.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        output: Path,
        provenance: Provenance,
        *,
        fresh: bool = False,
        part: Part = WHOLE,
        more: Mapping[str, Any] | None = None,
        also: Collection[str] = (),
    ) -> None:
        self._also = also
        self._cases = {case.case_id: case for case in cases}
        self._output, self._part, self._more = output, part, dict(more or {})
        self._provenance = provenance
        self._prover = Prover(output, provenance.key, tuple(also))
        self._journal = Journal(output, part.named(JOURNAL))
        self._states = {case.case_id: first_state(case.image) for case in cases}
        self._results: dict[str, CaseResult] = {}
        self._beside: dict[str, dict[str, Any]] = {}
        self._started: dict[str, float] = {}
        self._earlier = entries(output, part)
        self.summaries: list[str] = []
        self._concluded = False
        if not fresh:
            self._keep()
        self._write(None)
        if part.is_whole:
            end_journals(output)
        else:
            self._journal.empty()  # it is held

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._concluded:
            with suppress(OutputError):
                self._write(None)
                end_journals(self._output, self._part, of_writers=False)

    @property
    def results(self) -> list[CaseResult]:
        """Of the cases done so far, in the order of the input."""
        return [self._results[case] for case in self._cases if case in self._results]

    def case_started(self, case: str) -> None:
        self._started[case] = time.time()

    def case_ended(self, result: CaseResult) -> None:
        """Record it, with its proof or not at all; what an earlier run left of a case that is not done now goes."""
        self.record(result, self._proof(result.case) if result.status == "done" else {})

    def record(self, result: CaseResult, proof: Mapping[str, Any]) -> None:
        """As `case_ended`, of a case whose proof is known."""
        ended = time.time()
        case = result.case
        self._beside[case] = {"started": self._started.pop(case, ended), "ended": ended, **proof}
        self._results[case] = result
        self._remove_stale(case, with_mask=result.prediction is None)
        self._journal.add(self.entry(result))

    def drew(self, case: str, picture: str) -> None:
        """A picture of the case's mask stands in the folder under this name."""
        self._beside.setdefault(case, {})["picture"] = picture

    def conclude(self, exit_code: int) -> dict[str, Any]:
        """Write `run.json` of the whole run, and give what it holds.

        Raises:
            OutputError: it cannot be written.
        """
        self._concluded = True
        document = self._write(exit_code)
        end_journals(self._output, self._part)
        return document

    def document(self, exit_code: int | None) -> dict[str, Any]:
        """What `run.json` holds of the run so far; `exit_code` is None while it goes on."""
        made = self._provenance.document([self.entry(result) for result in self.results], exit_code)
        return made | {"summaries": self.summaries, **self._more}

    def entry(self, result: CaseResult) -> dict[str, Any]:
        """A case as `run.json` has it."""
        return result.entry() | self._beside.get(result.case, {})

    def _write(self, exit_code: int | None) -> dict[str, Any]:
        document = self.document(exit_code)
        write_json(self._output / self._part.named(MANIFEST), document)
        return document

    def _keep(self) -> None:
        for case in self._cases:
            entry = self._earlier.get(case, {})
            if entry.get("status") != "done" or "key" not in entry:
                continue
            proof = self._proof(case)
            result = result_of_entry(entry)
            also = {**_also_of(entry), **proof.get("also", {})}
            told = {**entry, "also": {kind: content for kind, content in _also_of(entry).items() if kind in self._also}}
            if result and proof and all(told.get(name) == value for name, value in proof.items()):
                self._results[case] = result
                more = {name: value for name, value in (("picture", entry.get("picture")), ("also", also)) if value}
                self._beside[case] = {**proof, "kept": True, **more}

    def _remove_stale(self, case: str, *, with_mask: bool) -> None:
        """Only what an earlier run of this program says that it wrote."""
        earlier, image = self._earlier.get(case, {}), self._cases[case].image
        stale = [earlier.get("picture")]
        if image is not None and earlier.get("prediction"):
            target = self._cases[case].target
            written = self._also if not with_mask else ()
            stale += [str(beside(target, kind)) for kind in ALSO if kind in _also_of(earlier) and kind not in written]
            stale += [str(target)] if with_mask else []
        for name in stale:
            if isinstance(name, str):
                with suppress(OSError, OutputError):
                    remove(self._output / name)

    def _proof(self, case: str) -> Mapping[str, Any]:
        return self._prover.proof(self._cases[case], self._states[case])


def _also_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    also = entry.get("also")
    return also if isinstance(also, dict) else {}
