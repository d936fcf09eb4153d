"""What a run did, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kits_submit.batch.outcome import CaseResult
from kits_submit.errors import printable
from kits_submit.labels import LabelSet

if TYPE_CHECKING:
    from rich.table import Table


MOST_ROWS = 200  # as many as anybody scrolls back through; 10,000 take ten seconds to lay out
_COLUMN_PADDING = 3  # of a cell, with the line beside it
_DROPPED_FIRST = ("peak MB", "axes", "network s", "spacing mm", "shape Z Y X", "all s")


def case_table(results: Sequence[CaseResult], labels: LabelSet, width: int | None = None) -> Table:
    """A row a case; a name marked by `!` has notes, which `run.json` lists. Of very many, those that failed come first.

    Args:
        width: in columns; the least important columns are left off where it is too narrow. None: all are shown.
    """
    from rich.table import Table
    from rich.text import Text

    shown = _most_telling(results)
    rows = [(result, _cells(result, labels)) for result in shown]
    heads = ["case", *_cells(CaseResult(""), labels)]
    widths = {head: max([len(head), *(len(cells.get(head, "")) for _, cells in rows)]) for head in heads}
    widths["case"] = max([len("case"), *(len(_name(result)) for result, _ in rows)])
    for head in _DROPPED_FIRST:
        if width is not None and sum(widths[h] + _COLUMN_PADDING for h in heads) + 1 > width:
            heads.remove(head)
    hidden = len(results) - len(shown)
    captions = ["! has notes: see run.json"] if any(result.notes for result in shown) else []
    captions += [f"{hidden} more of {len(results)} cases: see run.json"] if hidden else []
    table = Table(title="Segmented", title_justify="left", caption="\n".join(captions) or None)
    for head in heads:
        name = head == "case"
        table.add_column(
            head, justify="left" if name else "right", overflow="fold" if name else "ellipsis", no_wrap=not name
        )
    for result, cells in rows:
        if result.error:
            table.add_row(_name(result), Text(result.status, "red"))
        else:
            table.add_row(_name(result), *(cells[head] for head in heads[1:]))
    return table


def _most_telling(results: Sequence[CaseResult]) -> Sequence[CaseResult]:
    """All, or of more than `MOST_ROWS` those that failed, that have notes, and the first others."""
    if len(results) <= MOST_ROWS:
        return results
    return sorted(results, key=lambda result: (not result.error, not result.notes))[:MOST_ROWS]


def _name(result: CaseResult) -> str:
    return printable(result.case) + (" !" if result.notes else "")


def _cells(result: CaseResult, labels: LabelSet) -> dict[str, str]:
    names = [labels.names[number] for number in labels.foreground]
    return {
        "shape Z Y X": " ".join(str(n) for n in result.shape),
        "spacing mm": " ".join(f"{s:.3g}" for s in result.spacing_mm),
        "axes": result.orientation,
        **{f"{name} mL": f"{result.volume_ml.get(name, 0.0):.1f}" for name in names},
        "network s": f"{result.seconds.get('network', 0.0):.1f}",
        "all s": f"{result.wall_seconds:.1f}",
        "peak MB": f"{result.peak_mb:.0f}",
    }
