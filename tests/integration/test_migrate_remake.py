"""A rollup that was dropped, created again and filled from raw counts everything once."""

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_migrate_old_tables import counts, events
from tests.support.clickhouse_server import url_of
from tests.support.stored_events import store, usage_sums
from usagepipe.consumer.rollups.rebuild import rebuild_rollups
from usagepipe.consumer.rollups.tables import RollupTables
from usagepipe.query import UsageQueries
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.migrate import Migrated, migrate
from usagepipe.schemas.event import EARLIEST, LATEST
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ROLLUPS = ("rollup_usage_15m", "rollup_usage_1d")


def repair(address: ClickHouseAddress) -> None:
    with closing(RollupTables(address, 30)) as tables:
        rebuild_rollups(tables, EARLIEST, LATEST, 10)


@pytest.mark.parametrize("table", ROLLUPS)
def test_a_rollup_that_is_made_again_and_repaired_counts_everything_once(
    migrated: ClickHouseAddress, clickhouse_client: "Client", table: str
) -> None:
    """The other rollup keeps its counts, and new events are counted in both."""
    given = Settings.load(clickhouse=url_of(migrated))
    some = events()
    store(clickhouse_client, *some[:30])
    before = {each: counts(clickhouse_client, each) for each in ROLLUPS}
    sums = usage_sums(clickhouse_client)
    clickhouse_client.command(f"DROP TABLE {table} SYNC")

    migrate(given, remake=True)
    remade = {each: counts(clickhouse_client, each) for each in ROLLUPS}
    again = migrate(given)
    repair(migrated)

    assert before | {table: (0, 0, 0, 0)} == remade
    assert Migrated((), ()) == again
    assert before == {each: counts(clickhouse_client, each) for each in ROLLUPS}
    assert sums == usage_sums(clickhouse_client)

    store(clickhouse_client, *some[30:])
    assert counts(clickhouse_client, ROLLUPS[0]) == counts(clickhouse_client, ROLLUPS[1])
    assert (10, 10, 10) == tuple(counts(clickhouse_client, ROLLUPS[1]))[:3]


def test_a_rollup_that_was_accepted_as_altered_is_no_drift_when_it_is_made_again(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """What is recorded is the table that stands, also of the migrations that were left out."""
    given = Settings.load(clickhouse=url_of(migrated))
    clickhouse_client.command(
        "ALTER TABLE rollup_usage_15m ADD INDEX by_user user_id TYPE bloom_filter GRANULARITY 4"
    )
    migrate(given, accept_drift=True)
    clickhouse_client.command("DROP TABLE rollup_usage_15m SYNC")

    migrate(given, remake=True)

    assert Migrated((), ()) == migrate(given)


def test_names_are_filled_in_when_their_table_is_made_again(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """The newest name is a maximum: nothing counts twice, and no repair would fill it in."""
    store(clickhouse_client, *events())
    clickhouse_client.command("DROP TABLE usage_names SYNC")

    migrate(Settings.load(clickhouse=url_of(migrated)), remake=True)

    names = {row.user_name for row in UsageQueries(clickhouse_client).by_user("all").rows}
    assert {"Name 38", "Name 39"} == names
