"""Answers as tables for a terminal, with rich. Names come from callers: they are never markup."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from usagepipe.query.answers import RollUp, Row, Series, Totals, Usage

_ID_OF_NAME = {"user_name": "user_id", "api_key_name": "api_key_id"}
_HIDDEN = {*Usage.model_fields, "last_used", "start", *_ID_OF_NAME}
_NONE = "(none)"
_UNKNOWN = "unknown"
_LEAST_SHOWN = Decimal("0.0001")
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160))}


def totals_table(totals: Totals) -> Table:
    """One row: all usage of the range."""
    table = _table("Total", ())
    table.add_row(*_measures(totals))
    return table


def roll_up_table(title: str, roll_up: RollUp[Row]) -> Table:
    """A row for each of the roll-up's; what a limit cut off is told below."""
    rows = roll_up.rows
    words = _word_fields(rows)
    table = _table(title, [word.removesuffix("_id").replace("_", " ") for word in words])
    table.add_column("last used", no_wrap=True)
    for row in rows:
        cells = [_word(row, word) for word in words]
        table.add_row(*cells, *_measures(row), _moment(getattr(row, "last_used")))  # noqa: B009
    if roll_up.truncated:
        table.caption = f"The first {len(rows):,}; there are more."
    return table


def series_table(title: str, series: Series[Row]) -> Table:
    """A row for each bucket, in the order of time."""
    table = _table(title, [f"{series.width} ({series.time_zone})"])
    for row in series.rows:
        table.add_row(_moment(getattr(row, "start")), *_measures(row))  # noqa: B009
    if series.truncated:
        table.caption = f"The first {len(series.rows):,}; there are more."
    return table
