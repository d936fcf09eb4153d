"""Many cases: a row for each, whatever fails, and their summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from evaluation.case import Settings
from evaluation.decisions.summary import aggregate
from evaluation.masks.matching import Pair
from evaluation.measures.lesions import DEFAULT_RULES, Rules
from evaluation.parallel import map_cases, map_on_cluster
from evaluation.report import Issue, Report, Row
from kits_submit.errors import InputError


def score_pairs(
    pairs: Iterable[Pair],
    protocol: str = "all",
    jobs: int = 1,
    *,
    missing: str = "error",
    official_compat: bool = False,
    debug: bool = False,
    also: Sequence[str] = (),
    lesions: bool = False,
    lesion_rules: Rules = DEFAULT_RULES,
    on_row: Callable[[Row], None] | None = None,
) -> Report:
    """Score (case, prediction, truth) triples; a side that is None is missing, one that is an error cannot be read.

    A case that fails becomes a row with an `error`; the others are scored all the same. A prediction without truth has
    no row, only an issue. With `official_compat`, missing cases are left out, as the official code does.

    Args:
        protocol: a name of `kits.PROTOCOLS`.
        jobs: cases at a time, each in a process of its own; fewer where memory is short.
        missing: a case without prediction is an `error`, all `background`, or left out (`skip`).
        debug: let a bug of this program end the run, where else it fails the case that met it.
        also: measures beside the protocol's (`measures.requested`).
        lesions: find lesions, whatever the protocol, by `lesion_rules`.
        on_row: told each row as it is done (for progress).

    Raises:
        InputError: an unknown protocol, measure or treatment of missing cases, a case given twice, or no case at all.
    """
    settings = Settings(
        protocol,
        missing,
        official_compat,
        debug,
        also=tuple(also),
        lesions=lesions,
        lesion_rules=lesion_rules,
    )
    return score_settings(settings, pairs, jobs, on_row=on_row)


def score_settings(
    settings: Settings,
    pairs: Iterable[Pair],
    jobs: int = 1,
    *,
    on_row: Callable[[Row], None] | None = None,
    cluster: str | None = None,
) -> Report:
    """As `score_pairs`, by settings; on the Ray cluster at an address where one is given."""
    skips = settings.missing == "skip" or settings.official_compat
    listed = sorted(pairs, key=lambda pair: pair[0])
    _refuse_unusable(listed)
    issues = [
        Issue(case, "extra", f"{case}: a prediction without a label map; not scored")
        for case, _, truth in listed
        if truth is None
    ]
    wanted = [pair for pair in listed if pair[2] is not None]
    if skips:
        skipped = [case for case, prediction, _ in wanted if prediction is None]
        issues += [Issue(case, "missing", f"{case}: no prediction; left out") for case in skipped]
        wanted = [pair for pair in wanted if pair[1] is not None]
    rows = []
    scored = map_cases(settings, wanted, jobs) if cluster is None else map_on_cluster(settings, wanted, cluster)
    for row in scored:
        rows.append(row)
        if on_row is not None:
            on_row(row)
    issues += [row.error for row in rows if row.error is not None]
    issues += [Issue(case, "same", f"{case}: the label map itself") for case, ours, truth in wanted if ours == truth]
    issues += [Issue(r.case, "missing", f"{r.case}: no prediction; scored as background") for r in rows if r.missing]
    return report_of(settings, rows, issues)


def report_of(settings: Settings, rows: Sequence[Row], issues: Sequence[Issue]) -> Report:
    """The report of rows that are scored, sorted by case, and of what was met on the way."""
    skips = settings.missing == "skip" or settings.official_compat
    return Report(
        protocol=settings.protocol,
        keys=settings.keys,
        policy=settings.rules.policy,
        rows=rows,
        aggregate=aggregate(rows, settings.keys),
        issues=sorted(issues, key=lambda issue: issue.case),
        settings={
            "missing": "skip" if skips else settings.missing,
            "official_compat": settings.official_compat,
            "lesion_iou": settings.lesion_rules.iou,
            "lesion_ml": settings.lesion_rules.least_ml,
        },
    )


def _refuse_unusable(pairs: Sequence[Pair]) -> None:
    if not pairs:
        raise InputError("no case to score", fix="give predictions and label maps")
    for (first, *_), (second, *_) in pairwise(pairs):
        if first == second:
            raise InputError(f"{first} is given twice", fix="give each case once")
