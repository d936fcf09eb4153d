"""The lines of a report's summary, lesions, volumes and labels, for a terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evaluation.decisions.agreement import Agreement
from evaluation.decisions.intervals import FEW_CASES, METHOD
from evaluation.kits import LESION_COUNTS, LESION_RATES, SIZES
from evaluation.report import Report, Summary
from evaluation.tables.layout import UNDEFINED, counted, finite, interval, label, shown

SUMMARY_HEADER = ("measure", "mean", "n", "95 % interval", "worst case", "median", "std")
SUMMARY_SPARE = ("median", "std")
LESION_HEADER = ("lesions", "true", "found", "predicted", "sensitivity", "precision", "F1 (RQ)", "SQ", "PQ")
VOLUME_HEADER = ("target", "n", "true", "predicted", "bias", "limits", "mean |error|", "concordance")
LABEL_NAMES = ("background", "kidney", "tumor", "cyst")
CONFUSION_HEADER = ("true", *LABEL_NAMES)
_SIZE_NAMES = ("", *(f"_{name}" for name, _ in SIZES))
_SIZE_LABELS = ("all", "<= 4 cm (T1a)", "4 to 7 cm (T1b)", "> 7 cm (T2)")


def summary_lines(aggregate: Mapping[str, Summary], keys: Sequence[str]) -> list[list[str]]:
    """A line a key, and for volume errors one more of their sizes; lesions have a table of their own."""
    lines = []
    for key in keys:
        if key.startswith("lesion_"):
            continue
        summary = aggregate[key]
        lines.append(_cells(key, summary))
        if summary.absolute is not None:
            lines.append(_cells(key, summary.absolute, absolute=True))
    return lines


def interval_notes(summaries: Iterable[Summary]) -> list[str]:
    """How the intervals were made, and a warning where there are few cases."""
    counts = [summary.n for summary in summaries if summary.n]
    notes = [f"intervals: of the mean, {METHOD}"]
    if counts and 1 < max(counts) < FEW_CASES:
        notes.append(f"{counted(max(counts), 'case')}: below {FEW_CASES}, intervals cover less than they say")
    return notes


def lesion_lines(report: Report) -> list[list[str]]:
    """Counts over all cases, and the rates that follow, with their intervals."""
    lines = []
    for size, name in zip(_SIZE_NAMES, _SIZE_LABELS, strict=True):
        counts = [sum(row.scores[f"lesion_{count}{size}"] for row in report.scored) for count in LESION_COUNTS]
        rates = [_rate(report.aggregate[f"lesion_{rate}{size}"]) for rate in LESION_RATES]
        lines.append([name, *(str(round(count)) for count in counts), *rates])
    return lines


def volume_lines(found: Mapping[str, Agreement]) -> list[list[str]]:
    """A line a target."""
    lines = []
    for target, volumes in found.items():
        concordance = UNDEFINED if volumes.concordance is None else f"{volumes.concordance:.3f}"
        if volumes.concordance_ci95 is not None:
            concordance += " ({:.3f} .. {:.3f})".format(*volumes.concordance_ci95)
        limits = UNDEFINED if volumes.limits_ml is None else "{:+.1f} .. {:+.1f}".format(*volumes.limits_ml)
        means = f"{volumes.truth_ml:.1f}", f"{volumes.predicted_ml:.1f}", f"{volumes.bias_ml:+.1f}"
        lines.append([label(target), str(volumes.n), *means, limits, f"{volumes.absolute_ml:.1f}", concordance])
    return lines


def confusion_lines(total: Mapping[tuple[int, int], float]) -> list[list[str]]:
    """A line a true label."""
    names = range(len(LABEL_NAMES))
    return [
        [LABEL_NAMES[true], *(f"{total[true, ours]:.1f}" if true or ours else UNDEFINED for ours in names)]
        for true in names
        if total
    ]


def summary_document(summary: Summary) -> dict[str, Any]:
    """As JSON has it."""
    document = asdict(summary)
    document["mean"], document["median"] = finite(summary.mean), finite(summary.median)
    document["worst"] = [{"case": case, "value": value} for case, value in summary.worst]
    if summary.pooled is None:
        del document["pooled"], document["pooled_ci95"]
    if summary.absolute is None:
        del document["absolute"]
    else:
        document["absolute"] = summary_document(summary.absolute)
    return document


def _cells(key: str, summary: Summary, *, absolute: bool = False) -> list[str]:
    def told(value: float | None) -> str:
        return shown(key, value).lstrip("+") if absolute else shown(key, value)

    worst = f"{summary.worst[0][0]} {shown(key, summary.worst[0][1])}" if summary.worst else UNDEFINED
    spread = UNDEFINED if summary.std is None else shown(key, summary.std).lstrip("+")
    bounds = interval(key, summary.ci95)
    mean, median = told(summary.mean), told(summary.median)
    cells = [mean, str(summary.n), bounds.replace("+", "") if absolute else bounds, worst, median, spread]
    return [label(key, absolute=absolute), *cells]


def _rate(summary: Summary) -> str:
    if summary.pooled is None:
        return UNDEFINED
    bounds = "" if summary.pooled_ci95 is None else " ({:.2f} .. {:.2f})".format(*summary.pooled_ci95)
    return f"{summary.pooled:.2f}{bounds}"
