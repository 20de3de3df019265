"""`migrate` on a real server: idempotent, refusing, reporting, and harmless to itself."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.clickhouse_server import in_database, url_of
from tests.support.ports import lasting_port
from tests.support.programs import Programs
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.ledger import read_definitions, read_ledger
from usagepipe.schemas.clickhouse.migrate import Migrated, migrate
from usagepipe.schemas.clickhouse.migrations import Target, load_migrations, load_statement
from usagepipe.schemas.errors import (
    AccessError,
    MigrationError,
    ServerUnavailableError,
)
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MakeSettings = Callable[..., Settings]
RETAINED = ("usage_events", "rollup_usage_15m", "rollup_usage_1d", "usage_names")
NO_KAFKA = {"kafka": "127.0.0.1:1", "topic": "none", "group": "none"}  # so that none is started


def test_a_second_run_changes_nothing(
    settings: MakeSettings, database: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """From an empty database to the tables, and then to the very same tables."""
    given = settings(**NO_KAFKA)
    first = migrate(given)
    made = read_definitions(clickhouse_client, database.database)

    second = migrate(given)

    names = [step.name for step in first.steps]
    assert ["0000_usagepipe_migrations", "0001_usage_events"] == names[:2]
    assert Migrated((), ()) == second
    assert made == read_definitions(clickhouse_client, database.database)
    assert {*RETAINED, "rollup_usage_15m_mv", "rollup_usage_1d_mv", "usage_names_mv"} <= set(made)


def test_a_dry_run_shows_everything_and_changes_nothing(
    settings: MakeSettings, database: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """It shows the very steps that the run then does."""
    given = settings(**NO_KAFKA)

    shown = migrate(given, dry_run=True)

    assert {} == read_definitions(clickhouse_client, database.database)
    assert shown == migrate(given)


def test_a_missing_database_is_made(clickhouse: str, database: ClickHouseAddress) -> None:
    """A dry run shows that step, too, with all that follow it, and makes none of them."""
    absent = in_database(clickhouse, f"{database.database}_new")
    given = Settings.load(clickhouse=url_of(absent))
    with connect(database) as client:
        try:
            shown = migrate(given, dry_run=True)
            standing = client.command(f"EXISTS DATABASE {absent.database}")
            made = migrate(given)
            found = set(read_definitions(client, absent.database))
        finally:
            client.command(f"DROP DATABASE IF EXISTS {absent.database} SYNC")

    assert 0 == standing
    assert shown.steps == made.steps
    assert set(RETAINED) <= found


def test_an_edited_migration_changes_nothing(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """It is refused by name before the first statement, the new files' too."""
    old = load_migrations()
    edited = (*old[:2], dataclasses.replace(old[2], text=old[2].text + "\n-- more"), *old[3:])
    before = read_definitions(clickhouse_client, migrated.database)

    with pytest.raises(MigrationError, match=r"0002_rollup_usage_15m.sql was edited"):
        migrate(Settings.load(clickhouse=url_of(migrated)), migrations=edited)

    assert before == read_definitions(clickhouse_client, migrated.database)


def test_a_table_altered_by_hand_is_reported_until_it_is_accepted(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """The report says what differs; an operator's own index can be taken as it is."""
    given = Settings.load(clickhouse=url_of(migrated))
    clickhouse_client.command(
        "ALTER TABLE usage_events ADD INDEX by_user user_id TYPE bloom_filter GRANULARITY 4"
    )

    reported = migrate(given).drifts
    accepted = migrate(given, accept_drift=True).drifts
    after = migrate(given).drifts

    assert ["usage_events"] == [drift.object for drift in reported]
    assert "+    INDEX by_user user_id TYPE bloom_filter GRANULARITY 4" in reported[0].difference
    assert ((), ()) == (accepted, after)


def test_a_view_made_anew_by_hand_is_reported(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """A view that leaves requests out would otherwise go unnoticed."""
    clickhouse_client.command(
        "ALTER TABLE rollup_usage_15m_mv MODIFY QUERY SELECT now() AS bucket FROM usage_events"
    )

    (drift,) = migrate(Settings.load(clickhouse=url_of(migrated))).drifts

    assert "rollup_usage_15m_mv" == drift.object


def test_a_dropped_table_is_reported_and_the_rest_goes_on(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """It is not created again, and retention is still applied to the other tables."""
    clickhouse_client.command("DROP TABLE usage_names SYNC")

    done = migrate(Settings.load(clickhouse=url_of(migrated), rollup_retention_days=30))

    assert ["usage_names"] == [drift.object for drift in done.drifts]
    assert 2 == len(done.steps)


def test_a_dropped_table_is_made_anew_when_it_is_asked_for(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """Never by itself, nor by taking things as they are: nothing says that it may be empty."""
    given = Settings.load(clickhouse=url_of(migrated))
    clickhouse_client.command("DROP TABLE rollup_usage_1d SYNC")

    accepted = migrate(given, accept_drift=True)
    remade = migrate(given, remake=True)
    after = migrate(given)

    assert ["rollup_usage_1d"] == [drift.object for drift in accepted.drifts]
    assert ["0004_rollup_usage_1d"] == [step.name for step in remade.steps if "0004" in step.name]
    assert ((), (), ()) == (remade.drifts, after.drifts, after.steps)


def test_retention_follows_the_settings_and_is_no_drift(
    settings: MakeSettings, database: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """Rows expire this number of days after their arrival; 0 keeps them for ever."""

    def ttls(raw: int, rollup: int) -> list[str]:
        given = settings(**NO_KAFKA, raw_retention_days=raw, rollup_retention_days=rollup)
        assert () == migrate(given).drifts
        made = read_definitions(clickhouse_client, database.database)
        lines = (line for name in RETAINED for line in made[name].splitlines())
        return [line for line in lines if line.startswith("TTL ")]

    raw = "TTL toDate(stored_at) + toIntervalDay(1 + {})"
    rollup = "TTL toDate(last_stored_at) + toIntervalDay(1 + {})"

    assert [raw.format(400)] == ttls(400, 0)
    assert [raw.format(30), *[rollup.format(36_500)] * 3] == ttls(30, 36_500)
    assert [] == ttls(0, 0)


def test_runs_at_once_end_in_the_same_tables(
    settings: MakeSettings, database: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """Workers that all migrate when they start do not break each other."""
    given = settings(**NO_KAFKA)
    start = threading.Barrier(4)

    def run(_: int) -> Migrated:
        start.wait()
        return migrate(given)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, range(4)))

    assert Migrated((), ()) == migrate(given)
    versions = [entry.version for entry in read_ledger(clickhouse_client)]
    assert [each.version for each in load_migrations() if not each.cluster_only] == versions


def test_a_run_that_broke_off_is_started_again(
    settings: MakeSettings, clickhouse_client: "Client"
) -> None:
    """A statement that ran but was not recorded, as after a crash, runs again."""
    given = settings(**NO_KAFKA)
    migrate(given, migrations=load_migrations()[:1])
    clickhouse_client.command(load_migrations()[1].sql(Target("usage")))

    migrate(given)

    assert Migrated((), ()) == migrate(given)


@pytest.mark.parametrize("target", [Target("usage"), Target("usage", "blue")])
def test_clickhouse_understands_every_statement(clickhouse: str, target: Target) -> None:
    """The cluster's form is parsed even where no cluster runs."""
    words = {"table": "usage_events", "arrival": "stored_at", "days": "30"}
    loose = ("create_database.sql", "retention_set.sql", "retention_remove.sql")
    statements = [
        *(
            each.sql(target)
            for each in load_migrations()
            if target.cluster or not each.cluster_only
        ),
        *(target.render(load_statement(name), **words) for name in loose),
    ]
    with connect(in_database(clickhouse, "default")) as client:
        for sql in statements:
            assert client.command(f"EXPLAIN AST {sql}")


def test_a_server_that_is_away_is_named() -> None:
    """The error names the address that was tried, and never the password."""
    given = Settings.load(clickhouse=f"http://me:secret@127.0.0.1:{lasting_port()}/usage")

    with pytest.raises(ServerUnavailableError, match=r"ClickHouse at http://127.0.0.1") as caught:
        migrate(given)

    assert "secret" not in str(caught.value)


def test_a_starting_server_is_waited_for(crashable_clickhouse: LocalClickHouse) -> None:
    """Compose starts all at once: the wait ends when the server answers, or at its bound."""
    crashable_clickhouse.kill()
    given = Settings.load(clickhouse=f"{crashable_clickhouse.url}/late")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(migrate, given, wait_seconds=60)
        crashable_clickhouse.start()

        assert "create_database" == waiting.result().steps[0].name


def test_a_wrong_password_is_refused_access(clickhouse: str, database: ClickHouseAddress) -> None:
    """A server that answers and refuses is not called away."""
    wrong = dataclasses.replace(database, user="nobody-known", password="wrong")

    with pytest.raises(AccessError, match="refuses the user or the password"):
        migrate(Settings.load(clickhouse=url_of(wrong)))


def test_the_command_ends_with_what_it_found(
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    kafka: str,
    topic_name: str,
    run_program: Programs,
) -> None:
    """0 when all is as it should be, 1 when a table was altered, 3 when a server is unreachable."""
    url = url_of(migrated)
    common = ("migrate", "--clickhouse", url, "--topic", topic_name, "--wait", "20")

    good = run_program(*common, "--kafka", kafka)
    assert (0, "Tables are up to date.") == (good.wait(), good.stdout.splitlines()[0])
    assert f"topic {topic_name}: created with 8 partitions" in good.stdout

    other = run_program(*common, "--kafka", kafka, environment={"USAGEPIPE_TOPIC_PARTITIONS": "3"})
    assert 0 == other.wait()
    assert "partitions is 8, the settings want 3; left as it is." in other.stderr
    assert f"Topics that differ from the settings: {topic_name}.\n" in other.stdout
    assert "Topics are up to date" not in other.stdout

    clickhouse_client.command("ALTER TABLE usage_events ADD COLUMN extra UInt8")
    altered = run_program(*common, "--kafka", kafka)
    assert 1 == altered.wait()
    assert "usage_events was altered by hand" in altered.stderr
    assert "+    `extra` UInt8," in altered.stderr
    assert "Tables are up to date" not in altered.stdout
    assert "Topics are up to date" in altered.stdout

    away = run_program(*common[:-1], "0", "--kafka", f"127.0.0.1:{lasting_port()}")
    assert 3 == away.wait()
    assert "Kafka at 127.0.0.1" in away.stderr
