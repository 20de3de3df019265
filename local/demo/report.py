"""What the demo prints: usage by source and by key, and the balance of all places.

The caller prints the explanation of one cost between them.

The tables fit a terminal of 80 columns; `usagepipe usage` has the wider ones.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from usagepipe.local.demo.balance import Balance
from usagepipe.local.demo.check import Number
from usagepipe.local.demo.run import Result
from usagepipe.query.answers import Usage
from usagepipe.schemas.visible import visible

TOP_KEYS = 10
MAX_DIFFERENCES = 20  # a lost batch differs in every key: the first ones are enough
# The columns, and the numbers under them.
_SUMS = {
    "requests": "requests",
    "failures": "failures",
    "prompt": "prompt_tokens",
    "completion": "completion_tokens",
    "total": "total_tokens",
    "USD": "cost",
}
_USAGE = _SUMS | {"unpriced": "unpriced_requests"}


def print_usage(console: Console, result: Result) -> None:
    """Print what was used."""
    sources = [(row.source, row) for row in result.sources.rows]
    keys = [(row.api_key_id, row) for row in result.keys.rows]
    top = keys[:TOP_KEYS]
    console.print(_usage_table("Usage by source, in tokens", "source", sources))
    console.print(_usage_table(f"Usage by key, the busiest {len(top)} of {len(keys)}", "key", top))


def print_balance(console: Console, result: Result) -> None:
    """Print what each place has counted, and the verdict."""
    console.print(_balance_table(result.balance))
    console.print(_verdict(result.balance))


def _usage_table(title: str, first: str, rows: Iterable[tuple[str, Usage]]) -> Table:
    table = _table(title, first, list(_USAGE))
    for name, row in rows:
        table.add_row(
            Text(visible(name)), *(_shown(getattr(row, field)) for field in _USAGE.values())
        )
    return table


def _balance_table(balance: Balance) -> Table:
    table = _table("Balance of all places with what was sent", "place", [*_SUMS, ""])
    table.add_row("sent", *_cells(balance.sent.numbers()))
    wrong = {difference.place for difference in balance.differences}
    for count in balance.counts:
        mark = Text("≠", style="red") if count.place in wrong else Text("=", style="green")
        table.add_row(count.place, *_cells(count.numbers), mark)
    table.caption = "by key: only requests that came with an API key"
    return table


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.caption_justify = "left"
    table.padding = 0
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _cells(numbers: dict[str, Number]) -> list[str]:
    # The gateway's requests are those it has delivered.
    known = {"requests": numbers.get("delivered")} | numbers
    return [_shown(known.get(name)) for name in _SUMS.values()]


def _verdict(balance: Balance) -> Text:
    if balance.differences:
        shown = [visible(difference) for difference in balance.differences[:MAX_DIFFERENCES]]
        more = len(balance.differences) - len(shown)
        more_lines = [f"… and {more} more differences"] if more else []
        return Text("\n".join(["Not balanced:", *shown, *more_lines]), style="red")
    requests, seconds = balance.sent.requests, balance.seconds
    return Text(
        f"Balanced: {requests:,} requests sent = delivered = stored = in every rollup;\n"
        f"tokens and cost, too. {seconds:.1f} s, {requests / seconds:,.0f} requests a second.",
        style="green",
    )


def _shown(number: Number | None) -> str:
    if number is None:
        return ""
    return f"{number:,.4f}" if isinstance(number, Decimal) else f"{number:,}"
