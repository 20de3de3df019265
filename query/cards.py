"""Tables for terminals of any width: columns beside each other, or below each other as cards.

A figure is never cut or wrapped. Where the columns have no room beside each other, each row becomes
a card. Cells are never read as markup.
"""

import json
import os
import sys
from collections.abc import Collection, Sequence
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from usagepipe.schemas.visible import can_encode_all, visible

PIPE_COLUMNS: Final = 10_000  # where nothing gives a width: a row is a line, however long its ids
LEAST_WORD_WIDTH: Final = 16  # a word is folded to no less beside other columns


def terminal() -> Console:
    """A console on standard output, as wide as the terminal; into a pipe a row is one line."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else PIPE_COLUMNS, highlight=False)


def json_text(document: object, **options: Any) -> str:
    """`document` as JSON that standard output can encode, whatever the encoding."""
    return json.dumps(document, ensure_ascii=not can_encode_all(), **options)


class Cards:
    """Rows of cells under headings."""

    def __init__(self, title: str, headings: Sequence[str], words: Collection[str] = ()) -> None:
        """`words` are the headings of the columns that may be folded and stand at the left."""
        self.title = title
        self.caption = ""
        self.rows: list[tuple[Text, ...]] = []
        self._headings = headings
        self._words = words

    def add_row(self, *cells: Text | str) -> None:
        """Add a row; text is made visible."""
        self.rows.append(tuple(Text(visible(c)) if isinstance(c, str) else c for c in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fits = self._least_width(console) <= options.max_width
        yield self._beside() if fits else self._below()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._beside())

    def _least_width(self, console: Console) -> int:
        return 1 + sum(
            3 + (min(most, LEAST_WORD_WIDTH) if heading in self._words else most)
            for heading, most in zip(self._headings, self._widths(console), strict=True)
        )

    def _widths(self, console: Console) -> list[int]:
        def width(cell: Text | str) -> int:
            return Measurement.get(console, console.options, cell).maximum

        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self._headings)
        return [
            max(map(width, (Text(heading), *column)))
            for heading, column in zip(self._headings, columns, strict=True)
        ]

    def _beside(self) -> Table:
        table = self._titled(show_header=True)
        for heading in self._headings:
            if heading in self._words:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(heading, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table

    def _below(self) -> Table:
        table = self._titled(show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row in self.rows:
            for heading, cell in zip(self._headings, row, strict=True):
                table.add_row(heading, cell)
            table.add_section()
        return table

    def _titled(self, *, show_header: bool) -> Table:
        return Table(
            title=Text(visible(self.title)),
            title_justify="left",
            title_style="bold",
            caption=Text(self.caption) if self.caption else None,
            caption_justify="left",
            show_header=show_header,
        )
