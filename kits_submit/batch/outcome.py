"""What a batch tells of its cases: results, and who is told. Imports nothing heavy, for the commands' help needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

NO_KIDNEY = "no kidney was found"


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    - `status`: `done`, `failed`, or `background` where an empty mask stands in place of a failed case's;
      `error` and `exit_code` tell why it failed.
    - `prediction`: the mask's file name, None where there is none.
    - `seconds`: time by stage, which overlap; `wall_seconds`: from its first patch's start to its mask on disk.
    - `peak_mb`: peak resident memory of the process while it ran.
    - `device`: what computed it; `retried`: why devices above that one were left, one line each.
    - `patches`: of its plan; `skipped_patches`: those of one value, answered without computing.
    - `volume_ml`: predicted volume by class name; `contradicted_ml`: claimed by an inner region outside the outer one.
    - `notes`: what is odd about the image or its mask, a line each; it was segmented all the same.
    - `trace`: where it failed, for `--debug`; never in the manifest.
    """

    case: str
    status: str = "done"
    error: str = ""
    exit_code: int = 0
    prediction: str | None = None
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    orientation: str = ""
    device: str = ""
    retried: tuple[str, ...] = ()
    patches: int = 0
    skipped_patches: int = 0
    volume_ml: dict[str, float] = field(default_factory=dict)
    contradicted_ml: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0
    peak_mb: float = 0.0
    notes: tuple[str, ...] = ()
    trace: str = ""

    def entry(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {name: value for name, value in asdict(self).items() if name != "trace"}


def result_of_entry(entry: Mapping[str, Any]) -> CaseResult | None:
    """The result that an entry of a manifest is of; None where a field is missing or of another kind."""
    sample = CaseResult("", prediction="")
    values: dict[str, Any] = {}
    for name in (f.name for f in fields(CaseResult) if f.name != "trace"):
        like: Any = getattr(sample, name)
        value: Any = entry.get(name)
        kind = list if isinstance(like, tuple) else int | float if isinstance(like, float) else type(like)
        if not isinstance(value, kind):
            return None
        values[name] = tuple(value) if isinstance(value, list) else value
    numbers = [*values["shape"], *values["spacing_mm"], *values["volume_ml"].values(), *values["seconds"].values()]
    whole = len(values["shape"]) == len(values["spacing_mm"]) == 3 and "network" in values["seconds"]
    return CaseResult(**values) if whole and all(isinstance(n, int | float) for n in numbers) else None


class Watcher:
    """What a batch tells while it runs; each hook does nothing here."""

    def case_started(self, case: str) -> None: ...

    def patches_done(self, done: int, total: int) -> None: ...

    def case_noted(self, case: str, note: str) -> None: ...

    def case_ended(self, result: CaseResult) -> None: ...
