"""What the tables do with the rows: sums in both rollups, and nothing twice."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.support import events
from tests.support.clickhouse_server import url_of
from tests.support.events import NOON
from tests.support.stored_events import ARRIVED, insert_rows, rows_of, store
from usagepipe.schemas import Settings, UsageEvent
from usagepipe.schemas.clickhouse.migrate import Migrated, migrate
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.usefixtures("migrated")

ROLLUPS = ("rollup_usage_15m", "rollup_usage_1d")
DIMENSIONS = ("customer_id", "team_id", "user_id", "source", "api_key_id", "provider", "model")
TOKENS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
COORDINATES = {
    "kafka_topic",
    "kafka_topic_id",
    "kafka_partition",
    "kafka_offset",
    "batch_epoch",
    "ingested_at",
    "stored_at",
}


event = partial(events.event, occurred_at=NOON)


def many(count: int = 200) -> list[UsageEvent]:
    """Events over five days, of several users, keys and models, some failed, some unpriced."""
    return [
        event(
            occurred_at=NOON + timedelta(minutes=37 * n),
            user_id=f"u-{n % 7}",
            user_name=f"User {n}",
            api_key_id=f"k-{n % 5}" if n % 3 else "",
            source="apikey" if n % 3 else "web",
            model=f"m-{n % 2}",
            team_id=f"t-{n % 2}",
            failed=n % 11 == 0,
            cost=None if n % 4 == 0 else Decimal(n).scaleb(-12),
            **{name: n * place for place, name in enumerate(TOKENS, 1)},
        )
        for n in range(count)
    ]


def raw_sums(client: "Client") -> Sequence[object]:
    sums = ", ".join(f"sum({name})" for name in TOKENS)
    return client.query(
        f"SELECT count(), countIf(failed), {sums}, sum(cost), countIf(cost IS NULL), "
        "min(occurred_at), max(occurred_at) FROM usage_events"
    ).result_rows[0]


def rollup_sums(client: "Client", table: str) -> Sequence[object]:
    sums = ", ".join(f"sum({name})" for name in TOKENS)
    return client.query(
        f"SELECT sum(requests), sum(failures), {sums}, sum(cost), sum(unpriced_requests), "
        f"min(first_occurred_at), max(last_occurred_at) FROM {table}"
    ).result_rows[0]


def contents(client: "Client") -> dict[str, list[Sequence[object]]]:
    """All rows of all tables that an insert reaches."""
    tables = ("usage_events", *ROLLUPS, "usage_names")
    return {
        table: sorted(client.query(f"SELECT * FROM {table}").result_rows, key=str)
        for table in tables
    }


def test_tables_of_tests_are_those_of_a_migration(migrated: ClickHouseAddress) -> None:
    """A copy of migrated tables has nothing to migrate, and nothing in it differs."""
    assert Migrated((), ()) == migrate(Settings.load(clickhouse=url_of(migrated)))


@pytest.mark.parametrize("table", ROLLUPS)
def test_the_sums_over_a_rollup_are_those_over_raw(clickhouse_client: "Client", table: str) -> None:
    """Requests, failures, every kind of token, costs, unpriced requests, first and last time."""
    events = many()

    store(clickhouse_client, *events[:90])
    store(clickhouse_client, *events[90:])

    assert raw_sums(clickhouse_client) == rollup_sums(clickhouse_client, table)
    assert 200 == raw_sums(clickhouse_client)[0]


@pytest.mark.parametrize("table", ROLLUPS)
def test_a_rollup_keeps_the_dimensions_apart(clickhouse_client: "Client", table: str) -> None:
    """For each value of each dimension the rollup has the tokens that raw has."""
    store(clickhouse_client, *many())

    for dimension in DIMENSIONS:
        sums = f"SELECT {dimension}, sum(total_tokens) FROM {{}} GROUP BY 1 ORDER BY 1"
        expected, found = (
            clickhouse_client.query(sums.format(name)).result_rows
            for name in ("usage_events", table)
        )
        assert expected == found


def test_a_retried_insert_changes_nothing(clickhouse_client: "Client") -> None:
    """T-59: the same token again leaves raw, both rollups and the names exactly as they were.

    `stored_at` is the moment of the insert, so the second block differs from the first: it is the
    token that is recognized, not the content.
    """
    rows = rows_of(many())
    insert_rows(clickhouse_client, rows, "cluster:topic:0:0-199:0")
    before = contents(clickhouse_client)

    insert_rows(clickhouse_client, rows, "cluster:topic:0:0-199:0")

    assert before == contents(clickhouse_client)


def test_without_its_token_a_retry_is_stored_twice(clickhouse_client: "Client") -> None:
    """Another token, or none, is another batch: were it dropped, the test before could not fail."""
    rows = rows_of(many(10))
    for token in ("a", "b", "", ""):
        insert_rows(clickhouse_client, rows, token)

    assert 40 == raw_sums(clickhouse_client)[0]
    for table in ROLLUPS:
        assert raw_sums(clickhouse_client) == rollup_sums(clickhouse_client, table)


def test_a_retry_in_the_next_month_changes_nothing(clickhouse_client: "Client") -> None:
    """ClickHouse looks for a token inside one partition, so the partition must not be the clock's.

    The insert landed in January and its answer was lost; the retry comes in February.
    """
    rows = [json.loads(row) for row in rows_of(many(20)).splitlines()]

    for moment in ("2026-01-31T23:59:59.900Z", "2026-02-01T00:00:01.000Z"):
        body = "\n".join(json.dumps(row | {"stored_at": moment}) for row in rows)
        insert_rows(clickhouse_client, body.encode(), "one-token")

    assert 20 == raw_sums(clickhouse_client)[0]
    for table in ROLLUPS:
        assert raw_sums(clickhouse_client) == rollup_sums(clickhouse_client, table)


def test_a_batch_that_arrived_over_a_month_end_is_retried_whole(
    clickhouse_client: "Client",
) -> None:
    """One block in two partitions has its token in both."""
    late = ARRIVED + timedelta(days=20)
    rows = rows_of(many(10)) + b"\n" + rows_of(many(10), ingested_at=late.isoformat())

    for _ in range(2):
        insert_rows(clickhouse_client, rows, "one-token")

    assert 20 == raw_sums(clickhouse_client)[0]
    for table in ROLLUPS:
        assert raw_sums(clickhouse_client) == rollup_sums(clickhouse_client, table)


def test_midnight_parts_two_days(clickhouse_client: "Client") -> None:
    """T-23g: the last and the first millisecond of two days are in two buckets of each rollup."""
    midnight = datetime(2026, 3, 29, tzinfo=UTC)  # the day the clocks of Europe change
    store(
        clickhouse_client,
        event(occurred_at=midnight - timedelta(milliseconds=1)),
        event(occurred_at=midnight),
    )

    buckets = {
        table: clickhouse_client.query(
            f"SELECT DISTINCT bucket FROM {table} ORDER BY 1"
        ).result_columns[0]
        for table in ROLLUPS
    }

    assert [midnight - timedelta(minutes=15), midnight] == [*buckets["rollup_usage_15m"]]
    assert [midnight - timedelta(days=1), midnight] == [*buckets["rollup_usage_1d"]]


def test_late_events_change_their_own_day(clickhouse_client: "Client") -> None:
    """T-63: events of a day that arrive three days later change the sums of that day only."""
    store(clickhouse_client, event(total_tokens=1), event(occurred_at=NOON + timedelta(days=3)))

    store(clickhouse_client, event(total_tokens=5))

    sums = "SELECT sum(total_tokens) FROM rollup_usage_1d GROUP BY bucket ORDER BY bucket"
    assert [(6,), (0,)] == clickhouse_client.query(sums).result_rows


def test_a_batch_over_all_years_is_stored(clickhouse_client: "Client") -> None:
    """Every month of the hundred years an event may lie in, in one insert."""
    months = [
        event(occurred_at=datetime(year, month, 1, tzinfo=UTC))
        for year in range(2000, 2100)
        for month in range(1, 13)
    ]
    rows = rows_of(months)

    for _ in range(2):
        insert_rows(clickhouse_client, rows, "a-century")

    assert 1200 == raw_sums(clickhouse_client)[0]
    for table in ROLLUPS:
        assert raw_sums(clickhouse_client) == rollup_sums(clickhouse_client, table)


def test_the_largest_event_is_stored_to_the_last_digit(clickhouse_client: "Client") -> None:
    """Every count at its limit and a cost of 21 digits are returned unchanged, summed too."""
    cost = Decimal("999999999.123456789012")
    largest = event(
        cost=cost, duration_ms=10**10, sequence=2**63 - 1, **dict.fromkeys(TOKENS, 10**12)
    )

    store(clickhouse_client, largest, largest)

    (found,) = clickhouse_client.query(
        "SELECT DISTINCT cost, sequence FROM usage_events"
    ).result_rows
    assert (cost, 2**63 - 1) == found
    for table in ROLLUPS:
        assert (2, 0, *[2 * 10**12] * 6, 2 * cost, 0) == rollup_sums(clickhouse_client, table)[:-2]


def test_a_column_is_named_and_defaults_as_the_field(clickhouse_client: "Client") -> None:
    """What an event leaves out is left out of the insert, and comes back as the model has it."""
    bare = event(event_id=UUID(int=7))
    store(clickhouse_client, bare)

    result = clickhouse_client.query("SELECT * FROM usage_events")

    found = dict(zip(result.column_names, result.result_rows[0], strict=True))
    fields = list(UsageEvent.model_fields)
    assert fields == [*result.column_names][: len(fields)]
    assert COORDINATES == {*result.column_names} - {*fields}
    assert bare == UsageEvent.model_validate({name: found[name] for name in fields})


def test_raw_is_read_by_time_without_reading_all(clickhouse_client: "Client") -> None:
    """The edge of a range reads the granules of its time, not the table."""
    rows = rows_of([event(occurred_at=NOON + timedelta(seconds=n)) for n in range(40_000)])
    insert_rows(clickhouse_client, rows)

    plan = clickhouse_client.query(
        "EXPLAIN indexes = 1 SELECT count() FROM usage_events WHERE occurred_at >= "
        f"toDateTime64('{NOON:%Y-%m-%d %H:%M:%S}', 3, 'UTC') AND occurred_at < "
        f"toDateTime64('{NOON:%Y-%m-%d %H:%M:%S}', 3, 'UTC') + INTERVAL 1 MINUTE"
    )

    text = "\n".join(line for (line,) in plan.result_rows)
    assert "Granules: 1/5" in text, text
