"""What scoring hands on: a row a case, a summary a key, and every issue met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kits_submit.errors import KitsError, batch_exit_code

if TYPE_CHECKING:
    import pandas as pd


MOST_FAILURES = 10  # of one kind, told each on a line; of more the first few
FIRST_FAILURES = 3

_NOTES = {
    "extra": "without a label map, not scored",
    "missing": "without a prediction, treated as --missing says",
    "same": "predictions that are the label maps themselves",
}
_EMPTY_WHERE = {"both": "on both sides", "prediction": "in the prediction alone", "truth": "in the truth alone"}


@dataclass(frozen=True)
class Issue:
    """Something that the reader should know of.

    - `kind`: `missing`, `extra`, `same`, or the kind of error (`GeometryError`).
    - `exit_code`: 0 where it is no failure.
    """

    case: str
    kind: str
    message: str
    exit_code: int = 0

    @staticmethod
    def of(case: str, error: KitsError) -> Issue:
        """A failure as an issue of its case."""
        return Issue(case, type(error).__name__, str(error), error.exit_code)


@dataclass(frozen=True)
class Lesion:
    """One lesion of the truth or of the prediction.

    - `side`: `truth` or `prediction`. `number`: from 1, on its side of its case.
    - `size`: `t1a`, `t1b` or `t2` by its own diameter, as a lesion found is of its true partner's size.
    - `diameter_mm`: the distance of its two farthest voxel centres. `centre`: its mean index along Z, Y, X.
    - `partner`: the number of the lesion that it is matched with; None without one.
    - `iou`, `dice`, `distance_mm`: of the two, the distance that of their centres; None without a partner.
    """

    side: str
    number: int
    size: str
    volume_ml: float
    diameter_mm: float
    centre: tuple[float, float, float]
    partner: int | None = None
    iou: float | None = None
    dice: float | None = None
    distance_mm: float | None = None


@dataclass(frozen=True)
class Row:
    """One case.

    - `scores`: by key, NaN where undefined; nothing where the case failed.
    - `empty`: targets with an empty mask: `both`, `prediction` or `truth`.
    - `missing`: no prediction was there, scored as background.
    - `volumes_ml`: by target, (true, predicted).
    - `confusion_ml`: volume by true label (rows) and predicted label (columns), 0 to 3; that of 0 on both is left out.
    - `lesions`: true ones first; empty where they were not looked for.
    """

    case: str
    scores: Mapping[str, float] = field(default_factory=dict)
    empty: Mapping[str, str] = field(default_factory=dict)
    error: Issue | None = None
    missing: bool = False
    volumes_ml: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    confusion_ml: Sequence[Sequence[float]] = ()
    lesions: Sequence[Lesion] = ()


@dataclass(frozen=True)
class Summary:
    """One key over the cases.

    - `n`: cases with a value; `undefined`: scored cases without one.
    - `std`: of the sample (n - 1). `ci95`: interval of the mean. None where there are too few cases.
    - `worst`: the five worst (case, value) that could be better, worst first; empty for counts.
    - `empty`: cases whose masks of this target were empty: both, prediction's alone, truth's alone.
    - `pooled`: for lesion rates, over the lesions of all cases, not the mean over cases; `pooled_ci95`: its interval.
    - `absolute`: for volume errors, of their sizes: -50 % and +50 % have a mean of 0 and a mean size of 50 %.
    """

    n: int
    undefined: int
    mean: float
    median: float
    std: float | None
    ci95: tuple[float, float] | None
    worst: Sequence[tuple[str, float]]
    empty: Mapping[str, int]
    pooled: float | None = None
    pooled_ci95: tuple[float, float] | None = None
    absolute: Summary | None = None


@dataclass(frozen=True)
class Report:
    """Everything that a run of scoring found.

    - `keys`: the protocol's, in order. `settings`: how missing cases and official traps were treated.
    """

    protocol: str
    keys: tuple[str, ...]
    policy: str
    rows: Sequence[Row]
    aggregate: Mapping[str, Summary]
    issues: Sequence[Issue]
    settings: Mapping[str, str | bool | int | float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or the kind that all failed cases share, or 10."""
        return batch_exit_code(issue.exit_code for issue in self.issues if issue.exit_code)

    def to_frame(self) -> pd.DataFrame:
        """A row a case (index `case`), a column a key, NaN where undefined; `error` is empty where there is none."""
        import pandas as pd

        columns = {key: [row.scores.get(key, float("nan")) for row in self.rows] for key in self.keys}
        errors = ["" if row.error is None else row.error.message for row in self.rows]
        return pd.DataFrame({**columns, "error": errors}, index=pd.Index([row.case for row in self.rows], name="case"))

    @property
    def empties(self) -> list[str]:
        """What the empty-mask policy was applied to: `tumor: empty on both sides in 1 case, in the truth in 2`."""
        lines = []
        for target in dict.fromkeys(name for row in self.scored for name in row.empty):
            found = [row.empty.get(target) for row in self.scored]
            told = [f"{where} in {found.count(which)}" for which, where in _EMPTY_WHERE.items() if which in found]
            cases = "1 case" if len(found) == 1 else f"{len(found)} cases"
            lines.append(f"{target}: empty {', '.join(told)} of {cases}")
        return lines

    @property
    def scored(self) -> list[Row]:
        """The rows without an error."""
        return [row for row in self.rows if row.error is None]


def named_after(report: Report, scratch: Path, source: Path) -> Report:
    """The report with the file that the user gave wherever a message names the folder that it was unpacked into."""

    def renamed(issue: Issue) -> Issue:
        return replace(issue, message=issue.message.replace(str(scratch), str(source)))

    rows = [row if row.error is None else replace(row, error=renamed(row.error)) for row in report.rows]
    return replace(report, rows=rows, issues=[renamed(issue) for issue in report.issues])


def told(issues: Sequence[Issue]) -> list[tuple[bool, str]]:
    """(is a failure, line): each failure on its own, but for those that many cases share; notes a line each kind."""
    lines = []
    for kind, what in _NOTES.items():
        cases = [issue.case for issue in issues if issue.kind == kind and not issue.exit_code]
        if cases:
            lines.append((False, f"{what} ({len(cases)}): {_named(cases)}"))
    alike: dict[tuple[str, str], list[Issue]] = {}
    for issue in issues:
        if issue.exit_code:
            alike.setdefault((issue.kind, issue.message.replace(issue.case, "")), []).append(issue)
    by_kind: dict[str, list[Issue]] = {}
    for (kind, message), failed in alike.items():
        if len(failed) > 1 and message.startswith(": "):
            lines.append((True, f"{len(failed)} cases{message} ({_named([issue.case for issue in failed])})"))
        else:
            by_kind.setdefault(kind, []).extend(failed)
    for kind, failed in by_kind.items():
        few = failed if len(failed) <= MOST_FAILURES else failed[:FIRST_FAILURES]
        lines += [(True, issue.message) for issue in few]
        if more := failed[len(few) :]:
            lines.append((True, f"{len(more)} more of {kind}: {_named([issue.case for issue in more])}"))
    return lines


def _named(cases: Sequence[str]) -> str:
    """The first eight, and how many more."""
    return ", ".join(cases[:8]) + (f" and {len(cases) - 8} more" if len(cases) > 8 else "")
