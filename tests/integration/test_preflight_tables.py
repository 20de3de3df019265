"""Which tables could double a repeated insert, on a real ClickHouse."""

from typing import TYPE_CHECKING

import pytest

from tests.support.preflight import make
from usagepipe.consumer.preflight.tables import check_tables
from usagepipe.schemas.clickhouse.migrations import Target
from usagepipe.schemas.errors import StartRefusedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

WINDOW = "SETTINGS non_replicated_deduplication_window = 100"


def check(client: "Client") -> str:
    return check_tables(client, Target(str(client.database)))


MINE = "(event_id UUID, prompt_tokens UInt64) ENGINE ="
FROM_RAW = "AS SELECT event_id, prompt_tokens FROM usage_events"
FROM_ROLLUP = "AS SELECT bucket, sum(requests) AS requests FROM rollup_usage_1d GROUP BY bucket"


@pytest.mark.usefixtures("migrated")
def test_the_tables_of_migrate_all_remember(clickhouse_client: "Client") -> None:
    """Nothing is refused, and the check returns the engine for the scratch tables."""
    assert "MergeTree" == check(clickhouse_client)


@pytest.mark.usefixtures("migrated")
def test_tables_whose_windows_were_taken_away_are_refused(clickhouse_client: "Client") -> None:
    """Each is named, with the statement that gives it back."""
    tables = ["usage_events", "rollup_usage_15m", "rollup_usage_1d"]
    window = "non_replicated_deduplication_window"
    make(clickhouse_client, *(f"ALTER TABLE {t} MODIFY SETTING {window} = 0" for t in tables))

    with pytest.raises(StartRefusedError) as refused:
        check(clickhouse_client)

    for name in (f"{clickhouse_client.database}.{table}" for table in tables):
        assert (
            f"{name} remembers no insert, so a repeated one would double: "
            f"ALTER TABLE {name} MODIFY SETTING {window} = 100000."
        ) in str(refused.value)


@pytest.mark.usefixtures("migrated")
def test_views_of_users_into_tables_that_forget_are_refused(clickhouse_client: "Client") -> None:
    """Every such view is named, at any depth and with any engine of its table."""
    make(
        clickhouse_client,
        f"CREATE TABLE in_memory {MINE} Memory",
        f"CREATE MATERIALIZED VIEW a TO in_memory {FROM_RAW}",
        f"CREATE TABLE `it's \\`quoted\\`` {MINE} MergeTree ORDER BY event_id",
        f"CREATE MATERIALIZED VIEW `a TO b.c ` TO `it's \\`quoted\\`` {FROM_RAW}",
        "CREATE TABLE behind_a_rollup (bucket DateTime, requests UInt64) "
        "ENGINE = SummingMergeTree ORDER BY bucket",
        f"CREATE MATERIALIZED VIEW b TO behind_a_rollup {FROM_ROLLUP}",
        f"CREATE MATERIALIZED VIEW c ENGINE = MergeTree ORDER BY event_id {FROM_RAW}",
        f"CREATE TABLE passing {MINE} Null",
        f"CREATE MATERIALIZED VIEW d TO passing {FROM_RAW}",
        f"CREATE TABLE behind_one_that_passes {MINE} ReplacingMergeTree ORDER BY event_id",
        "CREATE MATERIALIZED VIEW e TO behind_one_that_passes AS SELECT * FROM passing",
    )

    with pytest.raises(StartRefusedError) as refused:
        check(clickhouse_client)

    reported = str(refused.value)
    assert ".in_memory has the engine Memory" in reported
    assert ".it's `quoted` remembers no insert" in reported
    assert ".behind_a_rollup remembers no insert" in reported
    assert "..inner_id." in reported
    assert ".behind_one_that_passes remembers no insert" in reported
    assert 5 == reported.count("would double")


@pytest.mark.usefixtures("migrated")
def test_a_view_into_a_missing_table_is_refused(clickhouse_client: "Client") -> None:
    """No insert would succeed."""
    make(
        clickhouse_client,
        f"CREATE TABLE mine {MINE} MergeTree ORDER BY event_id {WINDOW}",
        f"CREATE MATERIALIZED VIEW v TO mine {FROM_RAW}",
        "DROP TABLE mine",
    )

    with pytest.raises(StartRefusedError, match=r"A view fills \w+\.mine, which is missing"):
        check(clickhouse_client)


@pytest.mark.usefixtures("migrated")
def test_views_of_users_that_a_retry_cannot_double_are_fine(clickhouse_client: "Client") -> None:
    """A table with its window, also fed through a Null table, and tables that no insert fills."""
    make(
        clickhouse_client,
        f"CREATE TABLE mine {MINE} MergeTree ORDER BY event_id {WINDOW}",
        f"CREATE MATERIALIZED VIEW v TO mine {FROM_RAW}",
        f"CREATE TABLE passing {MINE} Null",
        f"CREATE MATERIALIZED VIEW w TO passing {FROM_RAW}",
        "CREATE MATERIALIZED VIEW x TO mine AS SELECT * FROM passing",
        f"CREATE TABLE now_and_then {MINE} MergeTree ORDER BY event_id",
        f"CREATE MATERIALIZED VIEW y REFRESH EVERY 1 YEAR TO now_and_then {FROM_RAW}",
        f"CREATE VIEW z {FROM_RAW}",
    )

    assert "MergeTree" == check(clickhouse_client)


@pytest.mark.usefixtures("migrated")
def test_missing_tables_and_views_are_named(clickhouse_client: "Client") -> None:
    """Without its view a rollup would silently miss rows."""
    make(clickhouse_client, "DROP TABLE rollup_usage_1d_mv", "DROP TABLE usage_names")

    with pytest.raises(StartRefusedError) as refused:
        check(clickhouse_client)

    assert (
        f"The database {clickhouse_client.database} lacks rollup_usage_1d_mv, usage_names. "
        "Run usagepipe migrate." == str(refused.value)
    )
