"""`usagepipe usage`: what was used, as tables or as JSON."""

from datetime import UTC, datetime
from typing import Any, cast

import click

from usagepipe.cli.options import Moment, combined, load_settings, server_options
from usagepipe.query import TimeRange, UsageQueries
from usagepipe.query.answers import Series, Totals
from usagepipe.query.cards import json_text, terminal
from usagepipe.query.periods import (
    EVER,
    PERIOD_NAMES,
    WIDTHS,
    PeriodName,
    Width,
    default_width,
    zone_of,
)
from usagepipe.query.questions import Filters
from usagepipe.query.statements import SORTS, Sort
from usagepipe.query.tables import NONE, roll_up_table, series_table, totals_table
from usagepipe.query.usage_queries import GROUPS, TIME, Group, Period
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.logs import configure_logs, quiet_driver
from usagepipe.schemas.settings import QuerySettings
from usagepipe.schemas.visible import visible

TWO_TABLES: tuple[Group, ...] = ("source", "key")  # what is shown unless something is asked for
FILTERS = {
    "user": "user_id",
    "source": "source",
    "key": "api_key_id",
    "model": "model",
    "provider": "provider",
    "team": "team_id",
    "customer": "customer_id",
}
SECONDS = "%Y-%m-%d %H:%M:%S"
NO_ROWS = {"user_source": " without an API key", "key": " with an API key"}


_filter_options = combined(
    *(
        click.option(f"--{option}", field, metavar="TEXT", help=f"Only requests of this {option}.")
        for option, field in reversed(FILTERS.items())
    )
)


@click.command("usage")
@server_options("clickhouse")
@click.option("--period", type=click.Choice(PERIOD_NAMES), help="Up to now.  [default: month]")
@click.option("--from", "start", type=Moment(None), help="First moment, as 2026-01-31T14:30.")
@click.option("--to", "end", type=Moment(None), help="First moment after the range.")
@click.option(
    "--by",
    type=click.Choice(list(GROUPS)),
    multiple=True,
    help="What to group by; given several times, one table is grouped by all of them."
    "  [default: a table by source and one by key]",
)
@_filter_options
@click.option(
    "--sort", type=click.Choice(SORTS), help="Order of the rows.  [default: tokens; time for time]"
)
@click.option("--width", type=click.Choice(WIDTHS), help="Of the buckets of --by time.")
@click.option(
    "--time-zone",
    metavar="NAME",
    help="Of --from, --to and the buckets' borders.  [default: UTC]",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="Rows of a table, the first ones in the order of --sort.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    clickhouse: str | None,
    period: PeriodName | None,
    start: datetime | None,
    end: datetime | None,
    by: tuple[Group, ...],
    sort: Sort | None,
    width: Width | None,
    time_zone: str | None,
    limit: int,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Print usage by source, key, user, model, and over time.

    An option that names an empty text, such as --key "", asks for requests that have none.
    --by key leaves out requests without an API key; --by user_source has only those.

    A cost is the sum of the known ones. Requests whose cost is not known count as unpriced, except
    failed ones without tokens. Usage is incomplete where an answer reported none (missing), was cut
    off (partial), or reported numbers that disagree (inconsistent).
    """
    by = tuple(dict.fromkeys(by))
    _check(by, sort, width, time_zone, start, end)
    settings = load_settings(QuerySettings, clickhouse=clickhouse)
    configure_logs(settings.log_level)
    quiet_driver()
    zone = time_zone or "UTC"
    asked = _period(period, _in_zone(start, zone), _in_zone(end, zone))
    narrowed = cast(Filters, filters)
    with UsageQueries.connect(settings) as usage:
        totals = usage.totals(asked, **narrowed)
        span = TimeRange(totals.start, totals.end)  # one range for all, not one "now" each
        options = {"width": width or default_width(asked), "time_zone": zone, "limit": limit}
        tables = [by] if by else [(word,) for word in TWO_TABLES]
        answers = {
            "_".join(words): _answer(usage, words, span, sort, **options, **narrowed)
            for words in tables
        }
    if as_json:
        _print_json(totals, answers)
    else:
        _print_tables(totals, answers, narrowed, zone)


def _check(
    by: tuple[Group, ...],
    sort: Sort | None,
    width: Width | None,
    time_zone: str | None,
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Refuse what would have no effect."""
    if TIME not in by and width:
        raise WrongUseError("--width needs --by time.")
    if TIME not in by and time_zone and not (start or end):
        raise WrongUseError("--time-zone needs --by time, --from or --to.")
    if TIME not in by and sort == "time":
        raise WrongUseError("--sort time needs --by time.")


def _answer(
    usage: UsageQueries, by: tuple[Group, ...], span: TimeRange, sort: Sort | None, **options: Any
) -> Any:
    """The answer that the table by these words shows. `options` are those of `grouped`."""
    if by == (TIME,) and sort in (None, "time"):
        return usage.buckets(span, **options)
    if len(by) == 1 and by != (TIME,):
        del options["width"], options["time_zone"]
        return getattr(usage, f"by_{by[0]}")(span, sort=sort or "tokens", **options)
    return usage.grouped(by, span, sort=sort, **options)


def _in_zone(moment: datetime | None, time_zone: str) -> datetime | None:
    """A moment that was given without a time zone, as one of `time_zone`."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=zone_of(time_zone))


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
    click.echo(json_text(document, indent=2))


def _print_tables(
    totals: Totals, answers: dict[str, Any], filters: Filters, time_zone: str
) -> None:
    span = _of_whom(filters) + _span_text(totals, time_zone)
    if totals.requests == totals.total_tokens == 0:
        click.echo(f"No usage {span}.")
        return
    console = terminal()
    console.print(f"Usage {span}\n", markup=False)
    console.print(totals_table(totals))
    for word, answer in answers.items():
        if isinstance(answer, Series):
            console.print(series_table(answer))
        elif answer.rows:
            console.print(roll_up_table(_title(word), answer))
        else:
            why = NO_ROWS.get(word, "")
            console.print(f"{_title(word)}: no usage{why}.", markup=False)


def _title(words: str) -> str:
    return f"By {words.replace('_', ' and ')}"


def _of_whom(filters: Filters) -> str:
    """The filters that were given, as they were: "of key k-1, user (none) "."""
    given = [
        f"{option} {visible(filters[field]) or NONE}"  # type: ignore[literal-required]  # its keys
        for option, field in FILTERS.items()
        if filters.get(field) is not None
    ]
    return f"of {', '.join(given)} " if given else ""


def _span_text(totals: Totals, time_zone: str) -> str:
    if (totals.start, totals.end) == (EVER.start, EVER.end):
        return "of all time"
    zone = zone_of(time_zone)
    start, end = (f"{each.astimezone(zone):{SECONDS}}" for each in (totals.start, totals.end))
    return f"from {start} to {end} {time_zone}"
