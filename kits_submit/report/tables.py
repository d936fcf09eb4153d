"""What a run did, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kits_submit.batch.outcome import CaseResult
from kits_submit.errors import printable
from kits_submit.labels import LabelSet

if TYPE_CHECKING:
    from rich.table import Table


def case_table(results: Sequence[CaseResult], labels: LabelSet) -> Table:
    """A row a case."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Segmented", title_justify="left")
    names = [labels.names[number] for number in labels.foreground]
    volumes = [f"{name} mL" for name in names]
    for heading in ("case", "shape Z Y X", "spacing mm", "axes", *volumes, "network s", "all s", "peak MB"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for result in results:
        if result.error:
            table.add_row(printable(result.case), Text(result.status, "red"))
            continue
        table.add_row(
            printable(result.case) + (" !" if result.notes else ""),
            " ".join(str(n) for n in result.shape),
            " ".join(f"{s:.3g}" for s in result.spacing_mm),
            result.orientation,
            *(f"{result.volume_ml.get(name, 0.0):.1f}" for name in names),
            f"{result.seconds['network']:.1f}",
            f"{result.wall_seconds:.1f}",
            f"{result.peak_mb:.0f}",
        )
    return table
