"""The numbered SQL files, and what a run decides from what was applied; without a server."""

import dataclasses
from importlib.resources import files
from pathlib import Path

import pytest

from usagepipe.schemas.clickhouse.ledger import MISSING, Applied, Drift, find_drifts
from usagepipe.schemas.clickhouse.migrations import Migration, Target, load_migrations
from usagepipe.schemas.clickhouse.plan import check_applied, pending, retention_steps
from usagepipe.schemas.clickhouse.retention import Retention, live_days
from usagepipe.schemas.errors import MigrationError

MIGRATIONS = load_migrations()
ONE = Target("usage")
CLUSTER = Target("usage", "blue")
SQL_FILES = sorted(
    path
    for package in ("usagepipe.schemas.clickhouse", "usagepipe.query")
    for path in Path(str(files(package))).rglob("*.sql")
)


def applied(migrations: tuple[Migration, ...] = MIGRATIONS, target: Target = ONE) -> list[Applied]:
    return [
        Applied.of(migration, target, f"definition of {migration.object_name(target)}")
        for migration in pending(migrations, (), target)
    ]


@pytest.mark.parametrize("path", SQL_FILES, ids=lambda path: path.name)
def test_a_file_opens_with_its_purpose_and_holds_one_statement(path: Path) -> None:
    """Line one is a sentence; a second statement would be sent with the first and refused."""
    first, *rest = path.read_text().splitlines()

    assert first.startswith("-- ")
    assert first.endswith(".")
    assert not [line for line in rest if ";" in line.partition("--")[0]]


@pytest.mark.parametrize("migration", MIGRATIONS, ids=lambda migration: migration.name)
def test_a_migration_may_run_twice(migration: Migration) -> None:
    """There is no lock, so a second run of a statement must change nothing."""
    # A view's query is replaced by the same one; a token drops an insert's repetition; and the
    # largest name of a table stays the largest.
    harmless = ("IF NOT EXISTS", "MODIFY QUERY", "insert_deduplication_token", "max((")
    assert [word for word in harmless if word in migration.sql(CLUSTER)]


@pytest.mark.parametrize("migration", MIGRATIONS, ids=lambda migration: migration.name)
def test_on_one_server_no_statement_names_a_cluster(migration: Migration) -> None:
    """The words for a cluster are removed, with trailing spaces."""
    if migration.cluster_only:
        assert migration not in pending(MIGRATIONS, (), ONE)
    else:
        sql = migration.sql(ONE)
        assert not [word for word in ("ON CLUSTER", "Replicated", "_local", "${") if word in sql]
        assert not [line for line in sql.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("migration", MIGRATIONS, ids=lambda migration: migration.name)
def test_on_a_cluster_every_object_is_created_on_every_server(migration: Migration) -> None:
    """Rows are in replicated tables, and the names that everyone uses are Distributed ones."""
    sql = migration.sql(CLUSTER)

    # An insert's rows are spread by the Distributed table.
    assert "ON CLUSTER blue" in sql or sql.partition("INSERT INTO ")[2].startswith(
        ("usage_names ", "rollup_usage_15m\n")
    )
    if "ENGINE" in sql:
        assert "ENGINE = Replicated" in sql or "ENGINE = Distributed(blue, usage, " in sql


def test_on_a_cluster_the_views_stand_between_local_tables() -> None:
    """A view on a Distributed table would miss the rows that other servers store."""
    views = [migration for migration in MIGRATIONS if migration.name.endswith("_mv")]

    assert views
    for view in views:
        sql = view.sql(CLUSTER)
        assert "FROM rollup_usage_15m_local" in sql or "FROM usage_events_local" in sql
        table = view.object_name(CLUSTER).removesuffix("_mv")
        table = table.removesuffix("_quality").removesuffix("_prices")
        assert f"TO {table}_local" in sql


def test_every_object_has_one_name() -> None:
    """On a cluster a table of rows and its Distributed twin differ by the suffix."""
    made = [each for each in MIGRATIONS if "CREATE " in each.text]
    names = [migration.object_name(CLUSTER) for migration in made]

    assert {"usage_events", "usage_events_local", "rollup_usage_1d", "rollup_usage_1d_mv"} <= {
        *names
    }
    assert len(set(names)) == len(names)


def test_a_missing_number_is_refused(tmp_path: Path) -> None:
    """A gap is a forgotten file, or a number that two branches used."""
    for name in ("0000_first.sql", "0002_third.sql"):
        (tmp_path / name).write_text("-- Nothing.\n")

    with pytest.raises(MigrationError, match=r"0002_third.sql should have the number 0001"):
        load_migrations(tmp_path)


def test_an_edited_migration_is_refused() -> None:
    """The file of an applied migration must not change by a byte."""
    edited = list(MIGRATIONS)
    edited[1] = dataclasses.replace(edited[1], text=edited[1].text + " ")

    with pytest.raises(MigrationError, match=r"0001_usage_events.sql was edited"):
        check_applied(edited, applied(), ONE)


def test_tables_of_a_newer_version_are_refused() -> None:
    """An old version must not write to tables it does not know."""
    with pytest.raises(MigrationError, match="applied by a newer usagepipe"):
        check_applied(MIGRATIONS[:-6], applied(), ONE)


def test_tables_of_one_server_do_not_become_a_cluster() -> None:
    """A cluster keeps rows in other tables, so the setting would hide the old rows."""
    with pytest.raises(MigrationError, match=r"made for one server, .* the cluster 'blue'"):
        check_applied(MIGRATIONS, applied(), CLUSTER)


def test_only_what_was_not_applied_is_pending() -> None:
    """An interrupted run continues where it stopped."""
    done = applied()[:3]

    assert [3, 4, 5, 6, 7, 12] == [each.version for each in pending(MIGRATIONS, done, ONE)][:6]


def test_a_table_as_it_was_left_has_not_drifted() -> None:
    """Only the retention may differ, since settings change it."""
    left = "CREATE TABLE t\n(\n    `a` UInt8\n)\nORDER BY a\nSETTINGS x = 1"
    live = left.replace("\nSETTINGS", "\nTTL a + toIntervalDay(1 + 30)\nSETTINGS")
    entry = dataclasses.replace(applied()[1], object="t", definition=left)

    assert () == find_drifts([entry], {"t": live})


def test_a_drift_names_the_lines_that_differ() -> None:
    """Removed lines have a minus, added lines a plus."""
    entry = dataclasses.replace(applied()[1], object="t", definition="(\n    `a` UInt8,\n)")

    (drift,) = find_drifts([entry], {"t": "(\n    `a` UInt16,\n)"})

    assert Drift("t", "-    `a` UInt8,\n+    `a` UInt16,") == drift


def test_a_dropped_table_is_a_drift() -> None:
    """It is not created again: an empty rollup would look like a complete one."""
    assert (Drift("usage_events", MISSING),) == find_drifts(applied()[1:2], {})


@pytest.mark.parametrize(
    ("ttl", "days", "sql"),
    [
        ("", 0, None),
        ("", 30, "MODIFY TTL toDate(stored_at) + toIntervalDay(1 + 30)"),
        ("TTL toDate(stored_at) + toIntervalDay(1 + 30)", 30, None),
        ("TTL toDate(stored_at) + toIntervalDay(1 + 30)", 9, "toIntervalDay(1 + 9)"),
        ("TTL toDate(stored_at) + toIntervalDay(1 + 30)", 0, "REMOVE TTL"),
        ("TTL somebody_elses", 0, "REMOVE TTL"),
        ("TTL somebody_elses", 30, "MODIFY TTL"),
    ],
)
def test_a_retention_is_changed_only_where_it_differs(ttl: str, days: int, sql: str | None) -> None:
    """The settings replace any other retention, and leave an equal one alone."""
    steps = retention_steps([Retention("t", "stored_at", days)], {"t": f"… {ttl}"}, ONE)

    assert [] == list(steps) if sql is None else sql in steps[0].sql


def test_a_dropped_table_needs_no_retention() -> None:
    """Its absence is reported; an ALTER would only end the run."""
    assert () == retention_steps([Retention("t", "stored_at", 30)], {}, ONE)


def test_a_retention_is_read_from_a_definition() -> None:
    """None is a TTL that usagepipe did not write."""
    assert [0, 7, None] == [
        live_days("ORDER BY a"),
        live_days("TTL toDate(stored_at) + toIntervalDay(1 + 7)"),
        live_days("TTL stored_at + toIntervalMonth(1)"),
    ]
