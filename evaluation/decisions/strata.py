"""The cases by what is known of them (slice thickness, stage, centre): a summary each, and whether they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.decisions.summary import aggregate
from evaluation.decisions.tests import between_groups, holm
from evaluation.kits import badness
from evaluation.report import Report, Row, Summary

UNKNOWN = "unknown"
MOST_VALUES = 6  # of a number: with more it is cut into ranges
_RANGES = 3


@dataclass(frozen=True)
class Strata:
    """- `by`: the column. `cases`: by stratum. `summaries`: by stratum, then key.

    - `p`: by key, of the means being equal but for chance, adjusted for all keys (Holm); NaN where it cannot be tested.
      Cases of which nothing is known form a stratum that is not tested.
    """

    by: str
    cases: Mapping[str, Sequence[str]]
    summaries: Mapping[str, Mapping[str, Summary]]
    p: Mapping[str, float]


def stratify(report: Report, values: Mapping[str, str], by: str, edges: Sequence[float] = ()) -> Strata:
    """The scored cases of a report by each one's value; of volume errors the sizes are tested.

    Args:
        values: by case, empty where unknown. Numbers of more than six values are cut at `edges`, or at their terciles.
    """
    scored = report.scored
    names = _names([values.get(row.case, "").strip() for row in scored], edges)
    order = list(dict.fromkeys(name for _, name in sorted(names)))
    of_case = [name for _, name in names]
    rows: dict[str, list[Row]] = {stratum: [] for stratum in order}
    for row, stratum in zip(scored, of_case, strict=True):
        rows[stratum].append(row)
    known = [number for number, stratum in enumerate(of_case) if stratum != UNKNOWN]
    table = np.array([[scored[number].scores[key] for key in report.keys] for number in known], np.float64)
    table = table.reshape(len(known), len(report.keys))
    for column, key in enumerate(report.keys):
        if badness(key) == 2:
            table[:, column] = np.abs(table[:, column])
        elif badness(key) == 0:
            table[:, column] = np.nan
    p = holm(between_groups(table, [order.index(of_case[number]) for number in known]))
    return Strata(
        by=by,
        cases={stratum: [row.case for row in members] for stratum, members in rows.items()},
        summaries={stratum: aggregate(members, report.keys) for stratum, members in rows.items()},
        p=dict(zip(report.keys, p.tolist(), strict=True)),
    )


def _names(values: Sequence[str], edges: Sequence[float]) -> list[tuple[tuple[float, str], str]]:
    """Of each value, what sorts its stratum and the stratum's name; unknown ones last."""
    numbers = [_number(value) for value in values if value]
    whole = [number for number in numbers if number is not None]
    if not whole or len(whole) < len(numbers) or (len(set(whole)) <= MOST_VALUES and not edges):
        sorting = [(_number(value) if len(whole) == len(numbers) else 0.0, value) for value in values]
        return [
            ((key or 0.0, value), value) if value else ((math.inf, ""), UNKNOWN)
            for (key, _), value in zip(sorting, values, strict=True)
        ]
    cuts = sorted(edges) or np.quantile(whole, np.arange(1, _RANGES) / _RANGES).tolist()
    found = []
    for value in values:
        number = _number(value)
        found.append(((math.inf, ""), UNKNOWN) if number is None else _range(number, cuts))
    return found


def _range(number: float, cuts: Sequence[float]) -> tuple[tuple[float, str], str]:
    """`<= 4`, `4 to 7` (above 4, 7 at most) or `> 7`."""
    place = sum(number > cut for cut in cuts)
    if place == 0:
        return (0.0, ""), f"<= {cuts[0]:.4g}"
    if place == len(cuts):
        return (float(place), ""), f"> {cuts[-1]:.4g}"
    return (float(place), ""), f"{cuts[place - 1]:.4g} to {cuts[place]:.4g}"


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
