"""Strata as a terminal table, JSON and Markdown. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evaluation.decisions.strata import Strata
from evaluation.kits import badness
from evaluation.report import Summary
from evaluation.tables.fitted import Fitted
from evaluation.tables.layout import UNDEFINED, chosen, counted, finite, label, markdown_table, section, shown
from evaluation.tables.summary import SUMMARY_HEADER, SUMMARY_SPARE, interval_notes, summary_document, summary_lines

if TYPE_CHECKING:
    from rich.table import Table

_NOTE = "p: cases dealt to the strata anew, adjusted for all measures (Holm); of volume errors their sizes"


def strata_sections(strata: Strata, columns: Sequence[str] = ()) -> list[Table]:
    """The strata's means beside each other, then each stratum's own summary."""
    sections = [section(f"By {strata.by}", Fitted(_header(strata), _lines(strata, columns)), _NOTE)]
    for stratum, summaries in strata.summaries.items():
        title = f"{strata.by} {stratum}: {counted(len(strata.cases[stratum]), 'case')}"
        lines = summary_lines(summaries, chosen(tuple(summaries), columns))
        notes = interval_notes(summaries.values())
        sections.append(section(title, Fitted(SUMMARY_HEADER, lines, SUMMARY_SPARE), *notes))
    return sections


def strata_markdown(strata: Strata) -> str:
    """The same, ready to paste."""
    parts = [f"**By {strata.by}**", markdown_table(_header(strata), _lines(strata, ())), f"- {_NOTE}"]
    for stratum, summaries in strata.summaries.items():
        parts.append(f"**{strata.by} {stratum}: {counted(len(strata.cases[stratum]), 'case')}**")
        parts.append(markdown_table(SUMMARY_HEADER, summary_lines(summaries, tuple(summaries))))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def strata_document(strata: Strata) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "by": strata.by,
        "strata": {
            stratum: {
                "cases": list(strata.cases[stratum]),
                "aggregate": {key: summary_document(summary) for key, summary in summaries.items()},
            }
            for stratum, summaries in strata.summaries.items()
        },
        "p": {key: finite(p) for key, p in strata.p.items()},
    }


def _header(strata: Strata) -> list[str]:
    return ["measure", "p", *(f"{stratum}\nn = {len(cases)}" for stratum, cases in strata.cases.items())]


def _lines(strata: Strata, columns: Sequence[str]) -> list[list[str]]:
    lines = []
    for key in chosen(tuple(strata.p), columns):
        if not badness(key):
            continue
        p = finite(strata.p[key])
        cells = [_mean(key, summaries[key]) for summaries in strata.summaries.values()]
        told = UNDEFINED if p is None else f"{p:.2g}"
        lines.append([label(key, absolute=badness(key) == 2), told, *cells])
    return lines


def _mean(key: str, summary: Summary) -> str:
    return shown(key, (summary.absolute or summary).mean).lstrip("+")
