"""`usagepipe usage`: what was used, as tables or as JSON."""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import click
from rich.console import Console

from usagepipe.cli.options import Moment, clickhouse_option, load_settings
from usagepipe.query import TimeRange, UsageQueries
from usagepipe.query.answers import Series, Totals
from usagepipe.query.filters import Filters
from usagepipe.query.periods import (
    EVER,
    PERIOD_NAMES,
    WIDTHS,
    PeriodName,
    Width,
    default_width,
)
from usagepipe.query.tables import NONE, roll_up_table, series_table, totals_table, visible
from usagepipe.query.usage_queries import Period
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.logs import configure_logs, quiet_driver

PIPE_COLUMNS = 10_000  # where nothing tells a width: a row is a line, however long its ids
ROLL_UPS = ("source", "key", "user", "user_source", "model", "provider", "team", "customer")
OVER_TIME = "time"
FILTERS = {
    "user": "user_id",
    "source": "source",
    "key": "api_key_id",
    "model": "model",
    "provider": "provider",
    "team": "team_id",
    "customer": "customer_id",
}
NO_ROWS = {"user_source": " without an API key", "key": " with an API key"}
Command = Callable[..., None]


def _filter_options(command: Command) -> Command:
    for option, field in FILTERS.items():
        command = click.option(
            f"--{option}", field, metavar="TEXT", help=f"Only requests of this {option}."
        )(command)
    return command


@click.command("usage")
@clickhouse_option
@click.option("--period", type=click.Choice(PERIOD_NAMES), help="Up to now.  [default: month]")
@click.option("--from", "start", type=Moment(), help="First moment, as 2026-01-31T14:30 (UTC).")
@click.option("--to", "end", type=Moment(), help="First moment after the range.")
@click.option(
    "--by",
    type=click.Choice([*ROLL_UPS, OVER_TIME]),
    multiple=True,
    default=("source", "key"),
    show_default=True,
    help="What to group by; may be given several times.",
)
@_filter_options
@click.option("--width", type=click.Choice(WIDTHS), help="Of the buckets of --by time.")
@click.option("--time-zone", metavar="NAME", help="Of the buckets' borders.  [default: UTC]")
@click.option("--limit", type=click.IntRange(1, 100_000), default=200, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    clickhouse: str | None,
    period: PeriodName | None,
    start: datetime | None,
    end: datetime | None,
    by: tuple[str, ...],
    width: Width | None,
    time_zone: str | None,
    limit: int,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Print usage by source, key, user, model.

    An option that names an empty text, such as --key "", asks for requests that have none.
    --by key leaves out requests without an API key; --by user_source has only those.
    """
    if OVER_TIME not in by and (width or time_zone):
        option = "--width" if width else "--time-zone"
        raise WrongUseError(f"{option} is about --by time, which is not asked for.")
    settings = load_settings(clickhouse=clickhouse)
    configure_logs(settings.log_level)
    quiet_driver()
    asked = _period(period, start, end)
    narrowed = cast(Filters, filters)
    with UsageQueries.connect(settings) as usage:
        totals = usage.totals(asked, **narrowed)
        span = TimeRange(totals.start, totals.end)  # one range for all, not one "now" each
        answers: dict[str, Any] = {}
        for word in by:
            if word == OVER_TIME:
                answers[word] = usage.buckets(
                    span,
                    width=width or default_width(asked),
                    time_zone=time_zone or "UTC",
                    limit=limit,
                    **narrowed,
                )
            else:
                answers[word] = getattr(usage, f"by_{word}")(span, limit=limit, **narrowed)
    if as_json:
        _print_json(totals, answers)
    else:
        _print_tables(totals, answers, narrowed)


def _period(period: PeriodName | None, start: datetime | None, end: datetime | None) -> Period:
    if start is None and end is None:
        return period or "month"
    if period is not None:
        raise WrongUseError("--period and --from or --to exclude each other.")
    return TimeRange(start or EVER.start, end or datetime.now(UTC))


def _print_json(totals: Totals, answers: dict[str, Any]) -> None:
    document = {"totals": totals.model_dump(mode="json")}
    for word, answer in answers.items():
        document[f"by_{word}"] = answer.model_dump(mode="json")
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def _print_tables(totals: Totals, answers: dict[str, Any], filters: Filters) -> None:
    span = _of_whom(filters) + _span_text(totals)
    if totals.requests == 0:
        click.echo(f"No usage {span}.")
        return
    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if told else PIPE_COLUMNS)
    console.print(f"Usage {span}\n", highlight=False, markup=False)
    console.print(totals_table(totals))
    for word, answer in answers.items():
        if isinstance(answer, Series):
            console.print(series_table(answer))
        elif answer.rows:
            console.print(roll_up_table(_title(word), answer))
        else:
            why = NO_ROWS.get(word, "")
            console.print(f"{_title(word)}: no usage{why}.", markup=False, highlight=False)


def _title(word: str) -> str:
    return f"By {word.replace('_', ' and ')}"


def _of_whom(filters: Filters) -> str:
    """The filters that were given, as they were: "of key k-1, user (none) "."""
    given = [
        f"{option} {visible(filters[field]) or NONE}"  # type: ignore[literal-required]  # its keys
        for option, field in FILTERS.items()
        if filters.get(field) is not None
    ]
    return f"of {', '.join(given)} " if given else ""


def _span_text(totals: Totals) -> str:
    if (totals.start, totals.end) == (EVER.start, EVER.end):
        return "of all time"
    return f"from {totals.start:%Y-%m-%d %H:%M:%S} to {totals.end:%Y-%m-%d %H:%M:%S} UTC"
