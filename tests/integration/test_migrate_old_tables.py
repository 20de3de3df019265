"""Tables of an older version become today's: names and counts of what is stored, nothing twice."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.support.clickhouse_server import url_of
from tests.support.stored_events import insert_rows, rows_of, usage_sums
from usagepipe.query import UsageQueries
from usagepipe.schemas import Settings, UsageEvent
from usagepipe.schemas.clickhouse.migrate import Migrated, migrate
from usagepipe.schemas.clickhouse.migrations import Target, load_migrations
from usagepipe.schemas.errors import MigrationError
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FIRST_RELEASE, BEFORE_PRICES = 11, 24  # the last migration of each
of_the_first_release = pytest.mark.parametrize("old", [FIRST_RELEASE], indirect=True)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNTS = (
    "missing_requests",
    "partial_requests",
    "inconsistent_requests",
    "failures_without_usage",
)


@pytest.fixture(params=[FIRST_RELEASE, BEFORE_PRICES])
def old(database: ClickHouseAddress, request: pytest.FixtureRequest) -> Settings:
    """The settings of a database as an older version made it."""
    settings = Settings.load(clickhouse=url_of(database))
    migrate(settings, migrations=[m for m in load_migrations() if m.version <= request.param])
    return settings


def events() -> list[UsageEvent]:
    """Of every quality, some failed, over several days and two users."""
    qualities = ("complete", "missing", "partial", "inconsistent")
    return [
        UsageEvent.new(
            user_id=f"u-{n % 2}",
            user_name=f"Name {n}",
            occurred_at=NOON + timedelta(hours=7 * n),
            usage_quality=qualities[n % 4],
            failed=n % 3 == 0,
            total_tokens=0 if n % 4 == 1 else n,
            cost=None if n % 2 else Decimal(n),
        )
        for n in range(40)
    ]


def insert(client: "Client", rows: bytes) -> None:
    insert_rows(client, rows, token="cluster:topic:0:0-39:0")


def arrived(some: Sequence[UsageEvent]) -> bytes:
    return rows_of(some, ingested_at=(NOON + timedelta(days=20)).isoformat())


def counts(client: "Client", table: str) -> Sequence[int]:
    sums = ", ".join(f"sum({name})" for name in COUNTS)
    found: Sequence[int] = client.query(f"SELECT {sums} FROM {table}").result_rows[0]
    return found


def test_what_is_stored_is_counted_and_named(old: Settings, clickhouse_client: "Client") -> None:
    """Both rollups count the quality of old events; a name from the future no longer wins."""
    some = events()
    future = UsageEvent.new(
        user_id="u-1", user_name="Future", occurred_at=datetime(2099, 1, 1, tzinfo=UTC)
    )
    insert(clickhouse_client, arrived([*some, future]))
    before = usage_sums(clickhouse_client)

    migrate(old)
    again = migrate(old)

    without_usage = sum(
        each.failed and each.cost is None and not each.total_tokens for each in some
    )
    assert (10, 10, 10, without_usage) == counts(clickhouse_client, "rollup_usage_15m")
    assert (10, 10, 10, without_usage) == counts(clickhouse_client, "rollup_usage_1d")
    assert before == usage_sums(clickhouse_client)
    assert Migrated((), ()) == again
    names = {
        row.user_id: row.user_name for row in UsageQueries(clickhouse_client).by_user("all").rows
    }
    assert {"u-0": "Name 38", "u-1": "Name 39"} == names


def test_a_reader_says_that_the_tables_are_an_older_versions(
    old: Settings, clickhouse_client: "Client"
) -> None:
    """An error about a missing column names the cure."""
    with pytest.raises(MigrationError, match="a column is missing"):
        UsageQueries(clickhouse_client).totals("all")


def test_a_name_whose_events_have_left_stays(old: Settings, clickhouse_client: "Client") -> None:
    """Where raw has no event of a key any more, its name is the one that was kept."""
    insert(clickhouse_client, arrived(events()))
    clickhouse_client.command("TRUNCATE TABLE usage_events")

    migrate(old)

    names = {row.user_name for row in UsageQueries(clickhouse_client).by_user("all").rows}
    assert {"Name 38", "Name 39"} == names


def test_a_block_that_is_repeated_after_it_is_dropped(
    old: Settings, clickhouse_client: "Client"
) -> None:
    """A worker's recovery of an announced range adds no request, token or cost."""
    rows = arrived(events())
    insert(clickhouse_client, rows)
    before = usage_sums(clickhouse_client)

    migrate(old)
    insert(clickhouse_client, rows)

    assert before == usage_sums(clickhouse_client)


@of_the_first_release
def test_a_migration_that_broke_off_counts_nothing_twice(
    old: Settings, clickhouse_client: "Client"
) -> None:
    """The statement that fills in the counts ran, and its record was lost."""
    insert(clickhouse_client, arrived(events()))
    migrate(old, migrations=load_migrations()[:22])
    clickhouse_client.command("DELETE FROM usagepipe_migrations WHERE version >= 21")

    migrate(old)

    assert counts(clickhouse_client, "rollup_usage_15m") == counts(
        clickhouse_client, "rollup_usage_1d"
    )
    assert (10, 10, 10) == tuple(counts(clickhouse_client, "rollup_usage_1d"))[:3]


@of_the_first_release
def test_counts_that_broke_off_between_two_blocks_are_filled_in_once(
    old: Settings, clickhouse_client: "Client"
) -> None:
    """What a large table has of old events takes several blocks, and some of them may be stored.
    A server groups in no order of its own, and in another one with other threads or parts."""
    migrations = load_migrations()
    (filling,) = (each for each in migrations if each.version == 21)
    statement = filling.sql(Target(old.clickhouse_address.database, ""))
    blocks = {
        "max_block_size": 1_000,
        "min_insert_block_size_rows": 2_000,
        "min_insert_block_size_bytes": 0,
    }
    migrate(old, migrations=[each for each in migrations if each.version < filling.version])
    clickhouse_client.command(
        "INSERT INTO usage_events (event_id, occurred_at, user_id, usage_quality, ingested_at)"
        " SELECT generateUUIDv4(), fromUnixTimestamp64Milli(1772366400000), hex(number), 'missing',"
        " now64(3) FROM numbers(20000)"
    )
    last = clickhouse_client.command("SELECT max(user_id) FROM usage_events")
    clickhouse_client.command(
        f"ALTER TABLE rollup_usage_15m ADD CONSTRAINT cut CHECK user_id != '{last}'"
    )

    with pytest.raises(DatabaseError):
        clickhouse_client.command(statement, settings=blocks | {"group_by_two_level_threshold": 1})
    before = counts(clickhouse_client, "rollup_usage_15m")[0]
    clickhouse_client.command("ALTER TABLE rollup_usage_15m DROP CONSTRAINT cut")
    clickhouse_client.command(statement, settings=blocks | {"group_by_two_level_threshold": 0})

    assert 0 < before < 20_000
    assert 20_000 == counts(clickhouse_client, "rollup_usage_15m")[0]
    assert 20_000 == counts(clickhouse_client, "rollup_usage_1d")[0]
