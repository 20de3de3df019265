"""Answers as tables for a terminal, with rich.

Ids and names come from callers: they are never read as markup, and their control characters (a
terminal would obey them) are shown as a sign. In a narrow terminal numbers fold, and are never cut.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from usagepipe.query.answers import Point, RollUp, Row, Series, Totals, Usage, Used

NONE = "(none)"
UNKNOWN = "unknown"
LEAST_COST_SHOWN = Decimal("0.0001")
_MEASURES = ("requests", "failures", "prompt", "completion", "total tokens", "cost in USD")
_CONTROL_SIGNS = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


def totals_table(totals: Totals) -> Table:
    """One row: all usage of the range."""
    table = _table("Total", [])
    table.add_row(*_measures(totals))
    return table


def roll_up_table(title: str, roll_up: RollUp[Row]) -> Table:
    """A row for each row of the roll-up; that there are more is told below."""
    rows = roll_up.rows
    fields = [name for name in _words_of(rows) if not name.endswith("_name")]
    table = _table(title, [name.removesuffix("_id").replace("_", " ") for name in fields])
    table.add_column("last used (UTC)", overflow="fold")
    for row in rows:
        words = [_word(row, name) for name in fields]
        table.add_row(*words, *_measures(row), _moment(row.last_used))
    return _with_caption(table, len(rows), roll_up.truncated)


def series_table(series: Series[Point]) -> Table:
    """A row for each bucket, in the order of time."""
    table = _table("Over time", [f"{series.width} ({series.time_zone})"])
    for point in series.rows:
        table.add_row(_moment(point.start), *_measures(point))
    return _with_caption(table, len(series.rows), series.truncated)


def cost_text(usage: Usage) -> str:
    """The known cost, and how many requests it says nothing about."""
    if usage.unpriced_requests == usage.requests:
        return UNKNOWN
    least = 0 < usage.cost < LEAST_COST_SHOWN
    known = f"<{LEAST_COST_SHOWN}" if least else f"{usage.cost:,.4f}"
    return f"{known} + {usage.unpriced_requests:,} unpriced" if usage.unpriced_requests else known


def _table(title: str, words: list[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    for word in words:
        table.add_column(word, overflow="fold")
    for measure in _MEASURES:
        table.add_column(measure, justify="right", overflow="fold")
    return table


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
    value = _visible(getattr(row, field))
    name = _visible(getattr(row, field.removesuffix("_id") + "_name", ""))
    if name and name != value:
        return Text.assemble(name, "\n", (value, "dim"))
    return Text(value or NONE)


def _visible(value: object) -> str:
    return str(value).translate(_CONTROL_SIGNS)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _with_caption(table: Table, rows: int, truncated: bool) -> Table:
    if truncated:
        table.caption = f"The first {rows:,}; there are more (--limit)."
    return table
