"""Answers as tables for a terminal, with rich.

Ids and names come from callers: they are never read as markup, and their control characters (a
terminal would obey them) are shown as a sign. A figure is never cut or wrapped: where the columns
do not fit beside each other, they stand below each other.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from usagepipe.query.answers import Point, RollUp, Row, Series, Totals, Usage, Used

NONE = "(none)"
UNKNOWN = "unknown"
LEAST_WORD_WIDTH = 16  # an id is folded to no less, as long as there is another way
LEAST_COST_SHOWN = Decimal("0.0001")
_MEASURES = ("requests", "failures", "prompt", "completion", "total tokens", "cost in USD")
_CONTROL_SIGNS = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


def visible(value: object) -> str:
    """Text of a caller for a terminal: a sign for each control character."""
    return str(value).translate(_CONTROL_SIGNS)


class UsageTable:
    """Rows of words and figures, in as many columns or below each other as the width has room."""

    def __init__(self, title: str, words: Sequence[str], last: Sequence[str] = ()) -> None:
        """`words` and `last` are the headings before and after the figures'."""
        self.title = title
        self.caption = ""
        self.rows: list[tuple[Text, ...]] = []
        self._words = len(words)
        self._headings = (*words, *_MEASURES, *last)

    def add_row(self, *cells: Text | str) -> None:
        self.rows.append(tuple(Text(cell) if isinstance(cell, str) else cell for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._wide() if self._least_width(console) <= options.max_width else self._stacked()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._wide())

    def _least_width(self, console: Console) -> int:
        """Words may be folded to a few characters, figures may not."""
        width = 1
        for column, heading in enumerate(self._headings):
            cells = (row[column] for row in self.rows)
            most = max(
                [
                    len(heading),
                    *(Measurement.get(console, console.options, c).maximum for c in cells),
                ]
            )
            width += 3 + (min(most, LEAST_WORD_WIDTH) if column < self._words else most)
        return width

    def _wide(self) -> Table:
        table = self._titled(show_header=True)
        for column, heading in enumerate(self._headings):
            if column < self._words:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(heading, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table

    def _stacked(self) -> Table:
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
            title=self.title,
            title_justify="left",
            title_style="bold",
            caption=self.caption or None,
            caption_justify="left",
            show_header=show_header,
        )


def totals_table(totals: Totals) -> UsageTable:
    """One row: all usage of the range."""
    table = UsageTable("Total", [])
    table.add_row(*_measures(totals))
    return table


def roll_up_table(title: str, roll_up: RollUp[Row]) -> UsageTable:
    """A row for each row of the roll-up; that there are more is told below."""
    rows = roll_up.rows
    fields = [name for name in _words_of(rows) if not name.endswith("_name")]
    words = [name.removesuffix("_id").replace("_", " ") for name in fields]
    table = UsageTable(title, words, ["last used (UTC)"])
    for row in rows:
        table.add_row(
            *(_word(row, name) for name in fields), *_measures(row), _moment(row.last_used)
        )
    return _with_caption(table, len(rows), roll_up.truncated)


def series_table(series: Series[Point]) -> UsageTable:
    """A row for each bucket, in the order of time."""
    table = UsageTable("Over time", [f"{series.width} ({series.time_zone})"])
    for point in series.rows:
        table.add_row(_moment(point.start), *_measures(point))
    return _with_caption(table, len(series.rows), series.truncated)


def cost_text(usage: Usage) -> str:
    """The known cost, and how many requests are missing in it."""
    if usage.cost is None:
        return UNKNOWN if usage.unpriced_requests else "-"
    least = 0 < usage.cost < LEAST_COST_SHOWN
    known = f"<{LEAST_COST_SHOWN}" if least else f"{usage.cost:,.4f}"
    return f"{known} + {usage.unpriced_requests:,} unpriced" if usage.unpriced_requests else known


def _measures(usage: Usage) -> list[str]:
    counts = (
        usage.requests,
        usage.failures,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
    )
    return [*(f"{count:,}" for count in counts), cost_text(usage)]


def _words_of(rows: Sequence[Used]) -> list[str]:
    """The fields that tell what a row is about; of no rows, none."""
    fields = type(rows[0]).model_fields if rows else ()
    return [name for name in fields if name not in Used.model_fields]


def _word(row: Used, field: str) -> Text:
    """An id with its name above it, as far as they are not empty."""
    value = visible(getattr(row, field))
    name = visible(getattr(row, field.removesuffix("_id") + "_name", ""))
    if name and name != value:
        return Text.assemble(name, "\n", (value, "dim"))
    return Text(value or NONE)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _with_caption(table: UsageTable, rows: int, truncated: bool) -> UsageTable:
    if truncated:
        table.caption = f"The first {rows:,}; there are more (--limit)."
    return table
