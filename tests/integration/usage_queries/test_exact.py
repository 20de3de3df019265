"""For any borders an answer equals the sum over raw rows, to the token and the picodollar."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.stored_events import insert_rows, rows_of
from usagepipe.query import TimeRange, UsageQueries
from usagepipe.query.answers import Usage
from usagepipe.query.questions import Filters
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

START = datetime(2026, 3, 27, tzinfo=UTC)
DAYS = 5
QUARTERS = DAYS * 96
MILLISECONDS = DAYS * 86_400_000


def moment_at(milliseconds: int) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def border(quarter: int, off: int) -> datetime:
    return moment_at(quarter * 900_000 + off)


# Borders of buckets, the milliseconds around them, and any moment.
MOMENTS = st.builds(border, st.integers(0, QUARTERS), st.integers(-1, 1)) | st.builds(
    moment_at, st.integers(0, MILLISECONDS)
)
RANGES = (
    st.tuples(MOMENTS, MOMENTS)
    .filter(lambda ends: ends[0] != ends[1])
    .map(lambda ends: TimeRange(min(ends), max(ends)))
)
FILTERS = st.sampled_from(
    [
        Filters(),
        Filters(user_id="u-1"),
        Filters(user_id="u-1", api_key_id=""),
        Filters(excluded_source="web"),
        Filters(model="m-0", source="apikey"),
    ]
)


def tokens(chance: random.Random) -> dict[str, int]:
    """Of a third of the requests none."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    used = chance.random() < 0.7
    return {name: chance.randrange(1, 10**6) if used else 0 for name in names}


def some_events() -> list[UsageEvent]:
    """Events at and around the borders of buckets, and anywhere; the same in each run."""
    chance = random.Random(7)
    at_borders = [border(chance.randrange(QUARTERS), off) for off in (-1, 0, 1) for _ in range(300)]
    anywhere = [moment_at(chance.randrange(MILLISECONDS)) for _ in range(600)]
    return [
        UsageEvent.new(
            occurred_at=moment,
            user_id=f"u-{chance.randrange(3)}",
            api_key_id=chance.choice(["", "k-1", "k-2"]),
            source=chance.choice(["web", "apikey"]),
            model=f"m-{chance.randrange(2)}",
            failed=chance.random() < 0.1,
            part=chance.choice([0, 0, 0, 1, 2]),
            usage_quality=chance.choice(["complete", "missing", "partial", "inconsistent"]),
            **tokens(chance),
            units=chance.choice([{}, {"web_searches": 0}, {"web_searches": 2, "images": 1}]),
            cost=chance.choice([None, Decimal(chance.randrange(10**15)).scaleb(-12)]),
        )
        for moment in at_borders + anywhere
    ]


@pytest.fixture
def stored(migrated: ClickHouseAddress, clickhouse_client: "Client") -> list[UsageEvent]:
    """The events, in three inserts as of three batches."""
    events = some_events()
    for part in range(3):
        insert_rows(clickhouse_client, rows_of(events[part::3]))
    return events


def expected(events: list[UsageEvent], span: TimeRange, filters: Filters) -> dict[str, object]:
    chosen = [
        event
        for event in events
        if span.start <= event.occurred_at < span.end
        and event.source != filters.get("excluded_source")
        and all(
            getattr(event, name) == value
            for name, value in filters.items()
            if name != "excluded_source"
        )
    ]
    tokens = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {
        "requests": sum(event.part == 0 for event in chosen),
        "failures": sum(event.failed and event.part == 0 for event in chosen),
        **{name: sum(getattr(event, name) for event in chosen) for name in tokens},
        "cost": sum((event.cost or Decimal(0) for event in chosen), Decimal(0)),
        "unpriced_requests": sum(
            event.cost is None
            and not (event.failed and not event.total_tokens and not any(event.units.values()))
            for event in chosen
        ),
        **{
            f"{quality}_requests": sum(event.usage_quality == quality for event in chosen)
            for quality in ("missing", "partial", "inconsistent")
        },
    }


def number(usage: Usage, name: str) -> Any:
    return getattr(usage, name) or 0  # a cost that is not known


def found(usage: Usage, like: dict[str, object]) -> dict[str, object]:
    return {name: number(usage, name) for name in like}


def added(rows: tuple[Usage, ...], like: dict[str, object]) -> dict[str, object]:
    return {name: sum((number(row, name) for row in rows), type(like[name])()) for name in like}  # type: ignore[call-overload]


def each_example(test: Callable[..., None]) -> Callable[..., None]:
    """Many examples on the tables that were filled once; a server's time is not bounded."""
    return settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )(test)


@each_example
@given(span=RANGES, filters=FILTERS)
def test_totals_equal_the_sum_over_raw(
    stored: list[UsageEvent], clickhouse_client: "Client", span: TimeRange, filters: Filters
) -> None:
    """Days, quarters of an hour and raw edges together hold each event of the range once."""
    wanted = expected(stored, span, filters)

    assert wanted == found(UsageQueries(clickhouse_client).totals(span, **filters), wanted)


@each_example
@given(
    span=RANGES,
    filters=FILTERS,
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "Europe/Berlin", "America/St_Johns"]),
    width=st.sampled_from(["15m", "hour", "day", "month"]),
)
def test_buckets_add_up_to_the_sum_over_raw(
    stored: list[UsageEvent],
    clickhouse_client: "Client",
    span: TimeRange,
    filters: Filters,
    zone: str,
    width: str,
) -> None:
    """Each event is in one bucket of any width and time zone, over a change of the clocks too."""
    wanted = expected(stored, span, filters)

    series = UsageQueries(clickhouse_client).buckets(
        span,
        width=width,  # type: ignore[arg-type]  # words of a list
        time_zone=zone,
        **filters,
    )

    assert wanted == added(series.rows, wanted)
    assert sorted(row.start for row in series.rows) == [row.start for row in series.rows]


@each_example
@given(span=RANGES, filters=FILTERS)
def test_roll_ups_add_up_to_the_sum_over_raw(
    stored: list[UsageEvent], clickhouse_client: "Client", span: TimeRange, filters: Filters
) -> None:
    """By source and by user nothing is left out; keys and the usage without keys are all."""
    wanted = expected(stored, span, filters)
    usage = UsageQueries(clickhouse_client)

    keys = usage.by_key(span, **filters).rows
    keyless = usage.by_user_source(span, **filters).rows

    assert wanted == added(usage.by_source(span, **filters).rows, wanted)
    assert wanted == added(usage.by_user(span, **filters).rows, wanted)
    assert wanted == added((*keys, *keyless), wanted)
