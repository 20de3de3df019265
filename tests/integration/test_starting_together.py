"""Workers and migrations that start at the same moment on the servers of `usagepipe local`."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.support import topics
from tests.support.programs import Programs, as_environment
from tests.support.running_worker import (
    event,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.worker import raw_counts
from usagepipe.consumer.clickhouse.writer import INSERT_SETTINGS
from usagepipe.consumer.preflight.preflight import Preflight
from usagepipe.consumer.preflight.scratch_tables import Scratch
from usagepipe.consumer.preflight.semantics import check_clickhouse, refusal
from usagepipe.consumer.runtime.health import Health
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import encode
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.errors import StartRefusedError
from usagepipe.schemas.settings import ClickHouseAddress, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MakeSettings = Callable[..., Settings]
WORKERS = 5
ROUNDS = 2
CHECK = "usagepipe.consumer.preflight.preflight.check_clickhouse"
DATABASES = ["usagepipe", "default"]


def scratch_tables(client: "Client") -> list[str]:
    found = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return [name for (name,) in found.result_rows if name.startswith("usagepipe_preflight_")]


def unknown_table() -> DatabaseError:
    return DatabaseError("Code: 60. DB::Exception: Table t does not exist. (UNKNOWN_TABLE)")


@pytest.mark.parametrize("database", DATABASES)
def test_workers_that_start_together_all_begin(
    crashable_clickhouse: LocalClickHouse,
    settings: MakeSettings,
    run_program: Programs,
    database: str,
) -> None:
    """None takes the scratch tables of another for old ones; the events are stored once."""
    made = settings(clickhouse=f"{crashable_clickhouse.url}/{database}")
    migrate(made)
    sent = 0
    for _ in range(ROUNDS):
        workers = [start_worker(run_program, made) for _ in range(WORKERS)]
        topics.send(made.kafka, made.topic, [encode(event(sent + n)) for n in range(20)])
        sent += 20
        for worker in workers:
            wait_until_running(worker)
        wait_until_committed(made, workers[0])
        assert [0] * WORKERS == [worker.stop() for worker in workers]

    with connect(made.clickhouse_address) as client:
        assert (sent, sent) == raw_counts(client)
        assert [] == scratch_tables(client)


@pytest.mark.parametrize("database", DATABASES)
def test_only_old_scratch_tables_are_dropped(
    crashable_clickhouse: LocalClickHouse, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names decide, also in a database that reports every table as made in 1970."""
    address = ClickHouseAddress.parse(f"{crashable_clickhouse.url}/{database}")
    with connect(address) as client:
        young = Scratch(client, INSERT_SETTINGS, replicated=False)
        young.make()
        made = scratch_tables(client)
        monkeypatch.setattr(
            "usagepipe.consumer.preflight.scratch_tables.time.time", lambda: 1_700_000_000.0
        )
        Scratch(client, INSERT_SETTINGS, replicated=False).make()

        young.drop_leftovers()

        assert sorted(made) == sorted(scratch_tables(client))


@pytest.mark.alone  # a worker waits only so long for the rest of the tables
def test_a_worker_and_the_migration_may_start_together(
    crashable_clickhouse: LocalClickHouse, settings: MakeSettings, run_program: Programs
) -> None:
    """A worker that finds no tables yet, or some, waits for the rest."""
    made = settings(clickhouse=crashable_clickhouse.clickhouse)

    worker = start_worker(run_program, made)
    migrations = [run_program("migrate", environment=as_environment(made)) for _ in range(2)]

    assert [0, 0] == [migration.wait() for migration in migrations]
    wait_until_running(worker)
    assert 0 == worker.stop()


def test_migrations_at_once_make_the_same_tables(
    crashable_clickhouse: LocalClickHouse, settings: MakeSettings
) -> None:
    """Every one succeeds, and the next finds nothing to do."""
    for number in range(ROUNDS):
        made = settings(
            clickhouse=f"{crashable_clickhouse.url}/at_once_{number}",
            kafka="127.0.0.1:1",
            topic="t",
            group="g",
        )
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda _: migrate(made), range(WORKERS)))  # noqa: B023

        again = migrate(made)

        assert ((), ()) == (again.steps, again.drifts)


def test_a_table_that_is_gone_once_is_no_reason_to_end(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart can lose a scratch table: the preflight is repeated."""
    tries = iter([unknown_table(), unknown_table()])

    def flaky(client: "Client", settings_of_insert: dict[str, int], *, replicated: bool) -> None:
        for error in tries:
            raise preflight_refusal(error, client)
        check_clickhouse(client, settings_of_insert, replicated=replicated)

    monkeypatch.setattr(CHECK, flaky)
    made = settings()
    migrate(made)
    health = Health()

    asyncio.run(Preflight(made, health).check())

    assert health.refusal is None


def test_a_table_that_is_always_gone_is_one(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several servers at one address no attempt succeeds."""

    def fail(client: "Client", *_: object, **__: object) -> None:
        raise preflight_refusal(unknown_table(), client)

    monkeypatch.setattr(CHECK, fail)
    made = settings()
    migrate(made)
    health = Health()

    with pytest.raises(StartRefusedError, match="several servers answer at its address"):
        asyncio.run(Preflight(made, health).check())

    assert "Name one server" in str(health.refusal)


def preflight_refusal(error: DatabaseError, client: "Client") -> Exception:
    return refusal(error, client) or error
