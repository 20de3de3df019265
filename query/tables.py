"""Answers as tables for a terminal.

Ids and names come from callers: `Cards` replaces control characters and fits the terminal's width.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from rich.text import Text

from usagepipe.query.answers import Point, RollUp, Row, Series, Totals, Usage, Used
from usagepipe.query.cards import Cards
from usagepipe.schemas.visible import visible

__all__ = ["NONE", "cost_text", "roll_up_table", "series_table", "totals_table", "visible"]

NONE = "(none)"
UNKNOWN = "unknown"
LEAST_COST_SHOWN = Decimal("0.0001")
_MEASURES = ("requests", "failures", "prompt", "completion", "total tokens", "cost in USD")
_INCOMPLETE = "incomplete usage"
_QUALITIES = ("missing", "partial", "inconsistent")


class UsageTable:
    """Builds the table of some rows of usage, which all have the same words around the measures."""

    def __init__(
        self, title: str, usage: Sequence[Usage], words: Sequence[str], last: Sequence[str] = ()
    ) -> None:
        """`words` and `last` are the headings before and after the measures'."""
        # Most reports have no such request: then they need no column.
        self._shows_incomplete = any(each.incomplete_requests for each in usage)
        incomplete = (_INCOMPLETE,) if self._shows_incomplete else ()
        self.cards = Cards(title, (*words, *_MEASURES, *incomplete, *last), words)

    def add(self, words: Sequence[Text | str], usage: Usage, last: Sequence[str] = ()) -> None:
        incomplete = (incomplete_text(usage),) if self._shows_incomplete else ()
        self.cards.add_row(*words, *_measures(usage), *incomplete, *last)


def totals_table(totals: Totals) -> Cards:
    """One row: all usage of the range."""
    table = UsageTable("Total", [totals], [])
    table.add((), totals)
    return table.cards


def roll_up_table(title: str, roll_up: RollUp[Row]) -> Cards:
    """A row for each row of the roll-up. A caption says that there are more."""
    rows = roll_up.rows
    fields = [name for name in _words_of(rows) if not name.endswith("_name")]
    words = [_heading(name, roll_up) for name in fields]
    table = UsageTable(title, rows, words, ["last used (UTC)"])
    for row in rows:
        table.add([_word(row, name) for name in fields], row, [_moment(row.last_used)])
    return _with_caption(table.cards, len(rows), roll_up.truncated)


def series_table(series: Series[Point]) -> Cards:
    """A row for each bucket, in the order of time."""
    table = UsageTable("Over time", series.rows, [f"{series.width} ({series.time_zone})"])
    for point in series.rows:
        table.add([_moment(point.start)], point)
    return _with_caption(table.cards, len(series.rows), series.truncated)


def cost_text(usage: Usage) -> str:
    """The known cost, and how many requests are missing in it."""
    if usage.cost is None:
        return UNKNOWN if usage.unpriced_requests else "-"
    least = 0 < usage.cost < LEAST_COST_SHOWN
    known = f"<{LEAST_COST_SHOWN}" if least else f"{usage.cost:,.4f}"
    return f"{known} + {usage.unpriced_requests:,} unpriced" if usage.unpriced_requests else known


def incomplete_text(usage: Usage) -> str:
    """How many requests have no usage, a part of it, or numbers that disagree."""
    counts = ((getattr(usage, f"{quality}_requests"), quality) for quality in _QUALITIES)
    return ", ".join(f"{count:,} {quality}" for count, quality in counts if count) or "-"


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
    """The fields that say what a row is about; of no rows, none."""
    fields = type(rows[0]).model_fields if rows else ()
    return [
        name
        for name in fields
        if name not in Used.model_fields and getattr(rows[0], name) is not None
    ]


def _heading(field: str, roll_up: RollUp[Row]) -> str:
    if field == "start":
        return f"{getattr(roll_up, 'width', '')} ({getattr(roll_up, 'time_zone', '')})"
    return field.removesuffix("_id").replace("_", " ")


def _word(row: Used, field: str) -> Text:
    """A moment, or an id with its name above it, unless they are empty."""
    if field == "start":
        return Text(_moment(getattr(row, field)))
    value = visible(getattr(row, field))
    name = visible(getattr(row, field.removesuffix("_id") + "_name", None) or "")
    if name and name != value:
        return Text.assemble(name, "\n", (value, "dim"))
    return Text(value or NONE)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _with_caption(table: Cards, rows: int, truncated: bool) -> Cards:
    if truncated:
        table.caption = f"The first {rows:,}; there are more (--limit)."
    return table
