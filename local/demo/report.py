"""What the demo prints: usage by source and by key, and the balance of all places."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from usagepipe.local.demo.balance import Balance
from usagepipe.local.demo.check import Number
from usagepipe.local.demo.run import Result
from usagepipe.query.answers import Usage

TOP_KEYS = 10
MAX_DIFFERENCES = 20  # a lost batch differs in every key: the first ones tell it
_USAGE_COLUMNS = ("requests", "failures", "prompt", "completion", "total", "cost $")
_BALANCE_COLUMNS = ("requests", "failures", "prompt", "completion", "total", "cost $")
_BALANCE_NUMBERS = (
    "requests",
    "failures",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost",
)


def print_report(console: Console, result: Result) -> None:
    """Print the tables and the verdict."""
    sources, keys, balance = result.sources, result.keys, result.balance
    console.print(_usage_table("Usage by source", "source", ((r.source, r) for r in sources.rows)))
    top = keys.rows[:TOP_KEYS]
    title = f"Usage by key, the {len(top)} busiest of {len(keys.rows)}"
    console.print(_usage_table(title, "key", ((r.api_key_name or r.api_key_id, r) for r in top)))
    console.print(_balance_table(balance))
    console.print(_verdict(balance))


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _usage_table(title: str, first: str, rows: Iterable[tuple[str, Usage]]) -> Table:
    table = _table(title, first, _USAGE_COLUMNS)
    for name, row in rows:
        table.add_row(Text(name), *(_shown(getattr(row, number)) for number in _BALANCE_NUMBERS))
    return table


def _balance_table(balance: Balance) -> RenderableType:
    table = _table("Balance", "place", (*_BALANCE_COLUMNS, ""))
    sent = balance.sent.numbers()
    table.add_row("sent", *(_shown(sent[number]) for number in _BALANCE_NUMBERS), "")
    wrong = {difference.place for difference in balance.differences}
    for count in balance.counts:
        numbers = {"requests": count.numbers.get("delivered"), **count.numbers}
        cells = [_shown(numbers.get(number)) for number in _BALANCE_NUMBERS]
        mark = "[red]✗[/red]" if count.place in wrong else "[green]✓[/green]"
        table.add_row(count.place, *cells, mark)
    note = Text("by key: requests that came with an API key, and no others", style="dim")
    return Group(table, note)


def _verdict(balance: Balance) -> RenderableType:
    if not balance.differences:
        requests, seconds = balance.sent.requests, balance.seconds
        return Text(
            f"Balanced: {requests:,} requests sent = delivered = stored = in every rollup, "
            f"and so are the tokens and the cost.\n"
            f"{requests:,} requests in {seconds:.1f} s: {requests / seconds:,.0f} a second.",
            style="green",
        )
    lines = [str(difference) for difference in balance.differences[:MAX_DIFFERENCES]]
    more = len(balance.differences) - len(lines)
    lines += [f"… and {more} more differences"] * (more > 0)
    return Text("Not balanced:\n" + "\n".join(lines), style="red")


def _shown(number: Number | None) -> str:
    if number is None:
        return ""
    return f"{number:,.4f}" if isinstance(number, Decimal) else f"{number:,}"
