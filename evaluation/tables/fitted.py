"""A terminal table that fits its width without cutting a value: columns that find no room go below, in a block each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

Cell: TypeAlias = "str | Text"

GAP = 2  # a space of padding and one of the box
LEAST_NAME = 12  # a first column is folded to so many characters, no fewer, to make room for a value


class Fitted:
    """The first column names the lines and stands in every block; the others follow in order of importance.

    Args:
        header: of each column; several lines where it holds line breaks.
        spare: columns that go, the last first, before any moves to a second block.
    """

    def __init__(self, header: Sequence[str], lines: Iterable[Sequence[Cell]], spare: Sequence[str] = ()) -> None:
        self.header = tuple(header)
        self.lines = [tuple(line) for line in lines]
        self.spare = tuple(spare)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as its widest block."""
        from rich.measure import Measurement

        widths = self._widths(options.max_width)
        widest = max(sum(widths[column] + GAP for column in block) for block in self.blocks(options.max_width)) - GAP
        return Measurement(min(widest, options.max_width), min(widest, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The blocks, an empty line between them, and what found no room."""
        from rich.text import Text

        for number, block in enumerate(self.blocks(options.max_width)):
            if number:
                yield ""
            yield self._table(block, self._widths(options.max_width))
        if gone := self.gone(options.max_width):
            yield Text(f"no room for {', '.join(gone)}", "dim", overflow="fold")

    def blocks(self, width: int) -> list[list[int]]:
        """Columns by number, those of each block; the first is in all."""
        columns = self._kept(width)
        widths = self._widths(width)
        blocks = [[0]]
        room = width - widths[0]
        for column in columns[1:]:
            if len(blocks[-1]) > 1 and widths[column] + GAP > room:
                blocks.append([0])
                room = width - widths[0]
            blocks[-1].append(column)
            room -= widths[column] + GAP
        return blocks

    def gone(self, width: int) -> list[str]:
        """The columns for which there is no room."""
        kept = self._kept(width)
        return [" ".join(name.split()) for number, name in enumerate(self.header) if number not in kept]

    def _kept(self, width: int) -> list[int]:
        columns = list(range(len(self.header)))
        widths = self._widths(width)
        for name in reversed(self.spare):
            if sum(widths[column] + GAP for column in columns) - GAP <= width:
                break
            columns = [column for column in columns if self.header[column] != name]
        return columns

    def _widths(self, width: int) -> list[int]:
        """Of each column; where not all fit beside each other, the first is folded to half the width."""
        widths = [max(map(_length, column)) for column in zip(self.header, *self.lines, strict=True)]
        if sum(widths) + GAP * (len(widths) - 1) > width:
            room = width - GAP - max(widths[1:], default=0)
            widths[0] = min(widths[0], max(LEAST_NAME, min(room, width // 2)))
        return [widths[0], *(min(column, width - GAP - widths[0]) for column in widths[1:])]

    def _table(self, block: Sequence[int], widths: Sequence[int]) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(
            box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, show_edge=False, collapse_padding=True
        )
        for column in block:
            table.add_column(
                self.header[column],
                justify="right" if column else "left",
                vertical="bottom",
                overflow="fold",
                width=widths[column],
            )
        for line in self.lines:
            table.add_row(*(line[column] for column in block))
        return table


def _length(cell: Cell) -> int:
    from rich.cells import cell_len

    return max(cell_len(part) for part in str(cell).split("\n"))
