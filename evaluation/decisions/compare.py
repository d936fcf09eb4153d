"""Two runs on the same cases: paired differences B - A, whether they could be chance, and where they are largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.decisions.statistics import interval95, wilcoxon_p
from evaluation.kits import badness
from evaluation.report import Report
from evaluation.tables.layout import finite, label, markdown_table, plain_table, section, shown, signed, stacked
from kits_submit.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

MOST_CHANGED = 5


@dataclass(frozen=True)
class Change:
    """One key's paired differences B - A over the cases that both runs have a value for.

    - `ci95`: bootstrap interval of the mean difference. `p`: two-sided Wilcoxon signed-rank.
    - `better`, `worse`: cases in which B is better or worse than A.
    - `most_changed`: (case, A, B), largest difference first.
    """

    n: int
    mean_a: float
    mean_b: float
    difference: float
    ci95: tuple[float, float] | None
    p: float
    better: int
    worse: int
    most_changed: Sequence[tuple[str, float, float]]

    @property
    def verdict(self) -> str:
        """`B better` or `A better` where the interval leaves out 0 and p < 0.05, else `-`."""
        if self.ci95 is None or self.p >= 0.05 or self.ci95[0] <= 0 <= self.ci95[1]:
            return "-"
        return "B better" if self.better > self.worse else "A better"


@dataclass(frozen=True)
class Comparison:
    """- `differences`: by case, then key, B - A; cases that failed in either run are left out."""

    protocol: str
    names: tuple[str, str]
    changes: Mapping[str, Change]
    differences: Mapping[str, Mapping[str, float]]
    left_out: Sequence[str]


def compare(a: Report, b: Report, names: tuple[str, str]) -> Comparison:
    """Pair the cases of two reports of one protocol.

    Raises:
        InputError: no case was scored in both.
    """
    rows_a, rows_b = ({row.case: row for row in report.scored} for report in (a, b))
    common = sorted(rows_a.keys() & rows_b.keys())
    if not common:
        raise InputError(
            "no case was scored in both runs", fix=f"compare runs of the same cases ({' and '.join(names)})"
        )
    changes = {
        key: _change(key, [(case, rows_a[case].scores[key], rows_b[case].scores[key]) for case in common])
        for key in a.keys
    }
    differences = {c: {k: rows_b[c].scores[k] - rows_a[c].scores[k] for k in a.keys} for c in common}
    left_out = sorted({row.case for report in (a, b) for row in report.rows} - set(common))
    return Comparison(a.protocol, names, changes, differences, left_out)


def render_comparison(comparison: Comparison) -> Table:
    """A line for each key, and below it the cases that changed most."""
    keys = _most_telling(comparison)
    places = [[_most_changed(key, comparison.changes[key], place) for key in keys] for place in range(MOST_CHANGED)]
    most = plain_table([label(key) for key in keys], [line for line in places if any(line)])
    means = plain_table(_HEADER, _lines(comparison))
    return stacked([section(_title(comparison), means), section("Most changed, A to B", most)])


def comparison_markdown(comparison: Comparison) -> str:
    """The table of keys, ready to paste."""
    return f"**{_title(comparison)}**\n\n" + markdown_table(_HEADER, _lines(comparison))


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """As JSON has it: NaN is null."""
    changes = {}
    for key, change in comparison.changes.items():
        document = asdict(change) | {"verdict": change.verdict}
        for name in ("mean_a", "mean_b", "difference"):
            document[name] = finite(document[name])
        document["most_changed"] = [{"case": case, "a": a, "b": b} for case, a, b in change.most_changed]
        changes[key] = document
    return {
        "protocol": comparison.protocol,
        "a": comparison.names[0],
        "b": comparison.names[1],
        "changes": changes,
        "cases": [
            {"case": case, **{key: finite(value) for key, value in by_key.items()}}
            for case, by_key in comparison.differences.items()
        ],
        "left_out": list(comparison.left_out),
    }


_HEADER = ("measure", "A", "B", "B - A", "95 % interval", "p", "better", "worse", "verdict")


def _change(key: str, values: Sequence[tuple[str, float, float]]) -> Change:
    known = [(case, a, b) for case, a, b in values if np.isfinite(a) and np.isfinite(b)]
    of_a, of_b = (np.array([value[i] for value in known], np.float64) for i in (1, 2))
    differences = of_b - of_a
    gains = _gains(key, of_a, of_b)
    order = sorted(known, key=lambda value: -abs(value[2] - value[1]))
    nan = float("nan")
    return Change(
        n=len(known),
        mean_a=float(of_a.mean()) if known else nan,
        mean_b=float(of_b.mean()) if known else nan,
        difference=float(differences.mean()) if known else nan,
        ci95=interval95(differences),
        p=wilcoxon_p(differences),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        most_changed=[value for value in order if value[1] != value[2]][:MOST_CHANGED],
    )


def _gains(key: str, of_a: np.ndarray[Any, np.dtype[np.float64]], of_b: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """Positive where B is better."""
    way = badness(key)
    return np.abs(of_a) - np.abs(of_b) if way == 2 else way * (of_a - of_b)


def _most_telling(comparison: Comparison) -> list[str]:
    """The three keys whose most changed cases fit beside each other: those with the smallest p."""
    judged = [key for key in comparison.changes if badness(key) and comparison.changes[key].n]
    return sorted(judged, key=lambda key: comparison.changes[key].p)[:3]


def _lines(comparison: Comparison) -> list[list[str]]:
    lines = []
    for key, change in comparison.changes.items():
        unchanged = not (change.better or change.worse)
        if not badness(key) or (key.startswith("lesion_") and unchanged):
            continue
        interval = "-" if change.ci95 is None else " .. ".join(signed(key, bound) for bound in change.ci95)
        lines.append(
            [
                label(key),
                shown(key, change.mean_a),
                shown(key, change.mean_b),
                signed(key, change.difference),
                interval,
                f"{change.p:.2g}" if change.n else "-",
                str(change.better),
                str(change.worse),
                change.verdict,
            ]
        )
    return lines


def _most_changed(key: str, change: Change, place: int) -> str:
    if place >= len(change.most_changed):
        return ""
    case, a, b = change.most_changed[place]
    return f"{case} {shown(key, a)} to {shown(key, b)}"


def _title(comparison: Comparison) -> str:
    n = len(comparison.differences)
    left = f", {len(comparison.left_out)} left out" if comparison.left_out else ""
    return f"{comparison.protocol}, {n} cases{left}: A = {comparison.names[0]}, B = {comparison.names[1]}"
