"""A report on disk: one page, or, where one would be too large to mail, a page and a folder of a page a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kits_submit.atomic import write_text
from kits_submit.report.page.case_page import CaseView
from kits_submit.report.page.cohort import Cohort, cases_table
from kits_submit.report.page.html import document, esc, script_text
from kits_submit.report.page.plots import against_size, bland_altman, distribution
from kits_submit.report.viewer.viewer import library, scripts

MOST_BYTES = 30_000_000
_TURN = (
    '<nav class="turn" aria-label="Cases"><button type="button" id="previous">Previous case</button>'
    '<button type="button" id="next">Next case</button><a href="#top">All cases</a></nav>\n'
)
NOT_A_DEVICE = "Not a medical device: for research, not for diagnosis."


class CasePages:
    """The cases of a report as they come: kept for one page, or written as pages of their own once they are many.

    Args:
        out: the report's file; the folder of case pages lies beside it, `report_cases` for `report.html`.
        apart: a page a case in any event.
    """

    def __init__(self, out: Path, *, apart: bool = False, most_bytes: int = MOST_BYTES) -> None:
        self.out = out
        self.apart = apart
        self._folder = out.with_name(f"{out.stem}_cases")
        self._most = most_bytes
        self._links: dict[str, str] = {}
        self._kept: list[CaseView] = []

    def add(self, view: CaseView) -> None:
        """Keep or write a case.

        Raises:
            OutputError: its page cannot be written.
        """
        self._kept.append(view)
        if not self.apart and sum(kept.size for kept in self._kept) > self._most:
            self.apart = True
        if self.apart:
            for kept in self._kept:
                self._write(kept)
            self._kept.clear()
        else:
            self._links[view.case] = f"#case-{view.number}"

    def link(self, case: str) -> str:
        """Where a case is shown, empty where it is not."""
        return self._links.get(case, "")

    def sections(self) -> str:
        """The cases that stay in the report's own page, with their viewer."""
        if not self._kept:
            return ""
        cases = "".join(kept.section for kept in self._kept)
        return (
            f'<main id="cases-shown">\n{_TURN}{cases}</main>\n{"".join(kept.islands for kept in self._kept)}{library()}'
        )

    def _write(self, view: CaseView) -> None:
        name = f"{view.number:05d}.html"
        back = f'<nav class="turn"><a href="../{esc(self.out.name)}">All cases</a></nav>\n'
        body = f"{back}<main>{view.section}</main>\n{view.islands}{library()}"
        write_text(self._folder / name, document(view.case, body, [scripts()]))
        self._links[view.case] = f"{self._folder.name}/{name}"


def write_report(cohort: Cohort, pages: CasePages, made: str = "", *, head: str = "", before: str = "") -> None:
    """Write the report's page; the cases have been added to `pages`.

    Args:
        made: how the masks were made, as HTML. before: what stands above the table, as HTML.

    Raises:
        OutputError: it cannot be written.
    """
    linked = replace(cohort, entries=[replace(entry, link=pages.link(entry.case)) for entry in cohort.entries])
    body = (
        f'<header id="top"><h1>{esc(cohort.title)}</h1><p>{esc(_summary(cohort))}</p></header>\n{before}'
        f"<section aria-labelledby='cohort'><h2 id='cohort'>Cases</h2>\n{cases_table(linked)}</section>\n"
        f"{plots_html(linked)}{pages.sections()}{made}<footer><p>{NOT_A_DEVICE}</p></footer>"
    )
    code = script_text("page.js") if pages.apart or not pages.sections() else scripts()
    write_text(pages.out, document(cohort.title, body, [code], head=head))


def plots_html(cohort: Cohort) -> str:
    """Every plot that the cohort has numbers for."""
    drawn = "".join(distribution(cohort, column) for column in cohort.scores)
    drawn += "".join(bland_altman(cohort, name, *keys) for name, keys in cohort.truths.items())
    sized = next((column for column in cohort.scores if column.key == cohort.size_score), None)
    if sized is not None:
        drawn += against_size(cohort, sized)
    if not drawn:
        return ""
    policy = f"<p>{esc(cohort.policy)}. Bands: 95 % bootstrap interval of the mean.</p>" if cohort.policy else ""
    inner = f"<h2 id='plots'>Plots</h2>\n{policy}<div class='plots'>{drawn}</div>"
    return f"<section aria-labelledby='plots'>{inner}</section>\n"


def _summary(cohort: Cohort) -> str:
    statuses: Sequence[str] = [entry.status for entry in cohort.entries]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))
    means = [
        f"{column.label} {column.shown(cohort.intervals[column.key].mean)}"
        for column in cohort.scores
        if column.key in cohort.intervals and column.key.endswith(("_dice", "composite"))
    ]
    return f"{len(statuses)} cases ({counts})" + (f"; mean {', '.join(means)}" if means else "")
