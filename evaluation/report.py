"""What scoring hands on: a row a case, a summary a key, and every issue met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kits_submit.errors import KitsError, batch_exit_code

if TYPE_CHECKING:
    import pandas as pd


_EMPTY_WHERE = {"both": "on both sides", "prediction": "in the prediction alone", "truth": "in the truth alone"}


@dataclass(frozen=True)
class Issue:
    """Something that the reader should know of.

    - `kind`: `missing`, `extra`, `note`, or the kind of error (`GeometryError`).
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
class Row:
    """One case.

    - `scores`: by key, NaN where undefined; nothing where the case failed.
    - `empty`: targets with an empty mask: `both`, `prediction` or `truth`.
    - `missing`: no prediction was there, scored as background.
    """

    case: str
    scores: Mapping[str, float] = field(default_factory=dict)
    empty: Mapping[str, str] = field(default_factory=dict)
    error: Issue | None = None
    missing: bool = False


@dataclass(frozen=True)
class Summary:
    """One key over the cases.

    - `n`: cases with a value; `undefined`: scored cases without one.
    - `std`: of the sample (n - 1). `ci95`: bootstrap interval of the mean. None where there are too few cases.
    - `worst`: the five worst (case, value), worst first; empty for counts.
    - `empty`: cases whose masks of this target were empty: both, prediction's alone, truth's alone.
    - `pooled`: for lesion rates, over all lesions of all cases rather than the mean over cases.
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
    settings: Mapping[str, str | bool | int] = field(default_factory=dict)

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
            lines.append(f"{target}: empty {', '.join(told)} of {len(found)} cases")
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
    """(is a failure, line): each failure on its own, missing and extra cases counted and named in a line each."""
    lines = [(True, issue.message) for issue in issues if issue.exit_code]
    for kind, what in (
        ("extra", "without a label map, not scored"),
        ("missing", "without a prediction, treated as --missing says"),
    ):
        cases = [issue.case for issue in issues if issue.kind == kind and not issue.exit_code]
        if cases:
            named = ", ".join(cases[:8]) + (f" and {len(cases) - 8} more" if len(cases) > 8 else "")
            lines.append((False, f"{what} ({len(cases)}): {named}"))
    return lines
