"""Tables for terminals of any width: with columns, or as one card per row.

Numbers are never cut or wrapped. If the columns do not fit, counts that are 0 in every row are left
out; if that is not enough, each row becomes a card. Cells are never read as markup.
"""

import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
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
    """`document` as JSON that is safe for a terminal.

    It escapes what `visible` replaces and what standard output cannot encode. A JSON parser reads
    the same values.
    """
    text = json.dumps(document, ensure_ascii=not can_encode_all(), **options)
    # Outside of strings JSON is ASCII; its newlines are those of `indent`.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def iso_text(moment: datetime | None) -> str | None:
    """A moment as text of JSON, in UTC and whole milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Cards:
    """Rows of cells under headings. Cells of type `str` are made visible.

    `words` are the headings of the columns that may be folded and are left-aligned; `counts` those
    of the columns that may be left out where all are 0.
    """

    title: str
    headings: Sequence[str]
    rows: Iterable[Sequence[Text | str]]
    words: Collection[str] = ()
    counts: Collection[str] = ()
    caption: str = ""

    @cached_property
    def _cells(self) -> list[tuple[Text, ...]]:
        return [
            tuple(Text(visible(cell)) if isinstance(cell, str) else cell for cell in row)
            for row in self.rows
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        every = range(len(self.headings))
        some = [column for column in every if not self._is_zero(column)]
        for columns in (every, some):
            if self._least_width(console, columns) <= options.max_width:
                yield self._beside(columns)
                return
        yield self._below()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._beside(range(len(self.headings))))

    def _is_zero(self, column: int) -> bool:
        """Whether the column may be left out."""
        return self.headings[column] in self.counts and all(
            row[column].plain == "0" for row in self._cells
        )

    def _least_width(self, console: Console, columns: Sequence[int]) -> int:
        width = 1
        for column in columns:
            cells = (Text(self.headings[column]), *(row[column] for row in self._cells))
            most = max(Measurement.get(console, console.options, cell).maximum for cell in cells)
            folds = self.headings[column] in self.words
            width += 3 + (min(most, LEAST_WORD_WIDTH) if folds else most)
        return width

    def _beside(self, columns: Sequence[int]) -> Table:
        table = self._titled(show_header=True)
        shown = [self.headings[column] for column in columns]
        if left_out := [heading for heading in self.headings if heading not in shown]:
            table.caption = Text(f"0 everywhere, and not shown: {', '.join(left_out)}.")
        for heading in shown:
            if heading in self.words:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(heading, justify="right", no_wrap=True)
        for row in self._cells:
            table.add_row(*(row[column] for column in columns))
        return table

    def _below(self) -> Table:
        table = self._titled(show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row in self._cells:
            for heading, cell in zip(self.headings, row, strict=True):
                table.add_row(heading, cell)
            table.add_section()
        return table

    def _titled(self, *, show_header: bool) -> Table:
        return Table(
            title=Text(visible(self.title)) if self.title else None,
            title_justify="left",
            title_style="bold",
            caption=Text(self.caption) if self.caption else None,
            caption_justify="left",
            show_header=show_header,
        )
