"""What a rehearsal took and how each limit was held, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kits_submit.rehearsal.rehearse import Rehearsal
from kits_submit.rehearsal.terms import Budget, Limit

if TYPE_CHECKING:
    from rich.table import Table


def rehearsal_tables(rehearsal: Rehearsal, budget: Budget, cage: str, limits: Sequence[Limit]) -> list[Table]:
    """What a rehearsal took, a row a case, and how each limit was held."""
    from rich.table import Table
    from rich.text import Text

    taken = Table(title=f"Rehearsed: {cage}", title_justify="left")
    for heading in ("case", "status", "seconds", "peak MB", "memory GB s", "GPU peak MB", "GPU GB s"):
        taken.add_column(heading, justify="left" if heading in ("case", "status") else "right")
    whole = ("whole run", f"exit {rehearsal.exit_code}", rehearsal.whole)
    for case, status, used in (*rehearsal.cases, whole):
        gpu = (f"{used.gpu / 1e6:.0f}", f"{used.gpu_byte_seconds / 1e9:.1f}") if rehearsal.sees_gpu else ("-", "-")
        figures = (f"{used.seconds:.1f}", f"{used.resident / 1e6:.0f}", f"{used.byte_seconds / 1e9:.1f}")
        taken.add_row(case, status, *figures, *gpu)
    each = "" if budget.case_seconds is None else f", {budget.case_seconds:g} s a case"
    held = Table(
        title=f"Limits: {budget.memory_bytes / 1e9:.2f} GB, {budget.seconds:g} s{each}, {budget.files} files, "
        f"{budget.processes} processes and threads (had {rehearsal.whole.threads})",
        title_justify="left",
    )
    for heading in ("limit", "enforced", "how"):
        held.add_column(heading)
    for limit in limits:
        held.add_row(limit.name, "yes" if limit.enforced else Text("no", "yellow"), limit.how)
    return [taken, held]
