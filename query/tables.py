"""Answers as tables for a terminal.

Ids and names come from callers: `Cards` replaces control characters and fits the terminal's width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from rich.text import Text

from usagepipe.query.answers import Point, RollUp, Row, Series, Totals, Usage, Used
from usagepipe.query.cards import Cards
from usagepipe.query.repricing import Affected, Estimate
from usagepipe.schemas.visible import visible

NONE = "(none)"
ESTIMATE = (
    "about: the rates of ordinary requests. Service tiers, sizes of prompts, hours and units other"
    " than tokens are not in the sums."
)
LEAST_COST_SHOWN = Decimal("0.0001")
_COUNTS = {
    "requests": "requests",
    "failures": "failures",
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "total tokens": "total_tokens",
}
_QUALITIES = ("missing", "partial", "inconsistent")
Columns = Mapping[str, Sequence[Text | str]]  # cells by heading


def totals_table(totals: Totals) -> Cards:
    """One row: all usage of the range."""
    return _table("Total", [totals], {})


def roll_up_table(title: str, roll_up: RollUp[Row]) -> Cards:
    """A row for each row of the roll-up. A caption says that there are more."""
    rows = roll_up.rows
    fields = [name for name in _words_of(rows) if not name.endswith("_name")]
    words = {_heading(name, roll_up): [_word(row, name) for row in rows] for name in fields}
    last = {"last used (UTC)": [_moment(row.last_used) for row in rows]}
    return _table(title, rows, words, last, truncated=roll_up.truncated)


def series_table(series: Series[Point]) -> Cards:
    """A row for each bucket, in the order of time."""
    starts = [_moment(point.start) for point in series.rows]
    words = {f"{series.width} ({series.time_zone})": starts}
    return _table("Over time", series.rows, words, truncated=series.truncated)


def affected_table(affected: Sequence[Affected]) -> Cards:
    """A row for each model with other prices: its usage, and its cost by the new book."""
    usage = [each.usage for each in affected]
    words = {name: [_word(row, name) for row in usage] for name in ("provider", "model")}
    estimates = {"by the new book": [estimate_text(each.estimate) for each in affected]}
    table = _table("The last 30 days of the models with other prices", usage, words, estimates)
    return replace(
        table, caption=ESTIMATE if any(not each.estimate.exact for each in affected) else ""
    )


def estimate_text(estimate: Estimate) -> str:
    """The estimated cost; `about` where not every request has the rates of ordinary ones."""
    if estimate.cost is None:
        return "no price"
    return _money(estimate.cost) if estimate.exact else f"about {_money(estimate.cost)}"


def _table(
    title: str,
    usage: Sequence[Usage],
    words: Columns,
    last: Columns = MappingProxyType({}),
    *,
    truncated: bool = False,
) -> Cards:
    """A row for each `usage`, with the columns `words` before its measures and `last` after."""
    columns: dict[str, Sequence[Text | str]] = dict(words)
    for heading, field in _COUNTS.items():
        columns[heading] = [f"{getattr(each, field):,}" for each in usage]
    columns["cost in USD"] = [cost_text(each) for each in usage]
    # Most reports have no such request: then they need no column.
    if any(each.incomplete_requests for each in usage):
        columns["incomplete usage"] = [incomplete_text(each) for each in usage]
    columns |= last
    rows = zip(*columns.values(), strict=True)
    caption = f"The first {len(usage):,}; there are more (--limit)." if truncated else ""
    return Cards(title, list(columns), rows, words=words, caption=caption)


def cost_text(usage: Usage) -> str:
    """The known cost, and how many requests are missing in it."""
    known = "" if usage.cost is None else _money(usage.cost)
    unpriced = f"{usage.unpriced_requests:,} unpriced" if usage.unpriced_requests else ""
    return " + ".join(filter(None, (known, unpriced))) or "-"


def _money(cost: Decimal) -> str:
    return f"<{LEAST_COST_SHOWN}" if 0 < cost < LEAST_COST_SHOWN else f"{cost:,.4f}"


def incomplete_text(usage: Usage) -> str:
    """How many requests have no usage, a part of it, or numbers that disagree."""
    counts = ((getattr(usage, f"{quality}_requests"), quality) for quality in _QUALITIES)
    return ", ".join(f"{count:,} {quality}" for count, quality in counts if count) or "-"


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
