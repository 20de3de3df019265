"""ClickHouse fails in each of its ways while events flow; afterwards each is stored once.

One worker lives through all of it without a restart. Each test has a user of its own, so that the
tests need no order. `test_outages.py` has the servers that are killed.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import Any

import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.fault_world import (
    BATCH_ROWS,
    INSERT_SECONDS,
    PARTITIONS,
    SECONDS,
    FaultWorld,
    Watched,
    all_of,
    fault_world,
)
from tests.support.faulty_proxy import Fault, adds, answers, drops, holds, resets
from tests.support.servers import NoServerError, skip_or_fail
from tests.support.waiting import eventually

EVENTS = 400
BACKLOG = 200_000
MEMORY_MIB = 400

pytestmark = [pytest.mark.timeout(240), pytest.mark.one_process]  # one world


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    try:
        name = f"test.{uuid.uuid4().hex}.v1"
        with fault_world(tmp_path_factory.mktemp("faults"), kafka, name) as world:
            yield world
    except NoServerError as error:
        skip_or_fail("ClickHouse that may be killed", "up usagepipe[local]", error)


@pytest.fixture(scope="module")
def worker(world: FaultWorld) -> Watched:
    """The worker that lives through all tests."""
    return world.start_worker()


@pytest.fixture
def user() -> str:
    return f"user-{uuid.uuid4().hex[:8]}"


Trouble = Callable[[FaultWorld], AbstractContextManager[object]]


def through_proxy(fault: Fault) -> Trouble:
    return lambda world: world.proxy.failing(fault)


def by_statements(begin: str, end: str) -> Trouble:
    """Trouble of the real server: a statement makes it, another ends it."""

    @contextmanager
    def trouble(world: FaultWorld) -> Iterator[None]:
        world.client.command(begin)
        try:
            yield
        finally:
            world.client.command(end)

    return trouble


@contextmanager
def killed(world: FaultWorld) -> Iterator[None]:
    world.clickhouse.kill()
    try:
        yield
    finally:
        world.clickhouse.start()


def of_table(setting: str, value: int) -> Trouble:
    alter = "ALTER TABLE usage_events"
    return by_statements(
        f"{alter} MODIFY SETTING {setting} = {value}", f"{alter} RESET SETTING {setting}"
    )


# What fails, whose fault it is, and what `/health` says of it ("" is: only the error's class).
TROUBLES: dict[str, tuple[Trouble, str, str]] = {
    "bad gateway": (through_proxy(answers(502)), "server", ""),
    "busy": (
        through_proxy(answers(503, 202, "TOO_MANY_SIMULTANEOUS_QUERIES")),
        "server",
        "code 202 TOO_MANY_SIMULTANEOUS_QUERIES",
    ),
    "keeper": (
        through_proxy(answers(500, 999, "KEEPER_EXCEPTION")),
        "server",
        "code 999 KEEPER_EXCEPTION",
    ),
    "password changed": (
        through_proxy(answers(403, 516, "AUTHENTICATION_FAILED")),
        "operator",
        "code 516 AUTHENTICATION_FAILED",
    ),
    "reset in the body": (through_proxy(resets), "server", ""),
    "reset before the answer": (through_proxy(drops), "server", ""),
    "slow": (through_proxy(holds(INSERT_SECONDS + 1)), "server", ""),
    "away": (killed, "server", ""),
    "out of memory": (
        through_proxy(adds("max_memory_usage=1000")),
        "server",
        "code 241 MEMORY_LIMIT_EXCEEDED",
    ),
    "read-only user": (through_proxy(adds("readonly=1")), "operator", "code 164 READONLY"),
    "read-only table": (
        of_table("table_readonly", 1),
        "operator",
        "code 774 TABLE_IS_PERMANENTLY_READ_ONLY",
    ),
    "disk full": (
        of_table("min_free_disk_bytes_to_perform_insert", 1 << 60),
        "server",
        "code 243 NOT_ENOUGH_SPACE",
    ),
    "view fails after the raw rows": (
        by_statements(
            "CREATE MATERIALIZED VIEW failing_mv ENGINE = Null AS"
            " SELECT throwIf(total_tokens = 1) FROM usage_events",
            "DROP VIEW failing_mv SYNC",
        ),
        "operator",
        "code 395 FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
    ),
    "table missing": (
        by_statements(
            "RENAME TABLE rollup_usage_1d TO elsewhere", "RENAME TABLE elsewhere TO rollup_usage_1d"
        ),
        "operator",
        "code 60 UNKNOWN_TABLE",
    ),
}


def trouble_of(worker: Watched, error: str) -> dict[str, Any]:
    """What `/health` reports once it reports `error` ("": one without a code).

    When several inserts fail at once, the local server first reports some with an unknown state.
    """
    seen = worker.trouble()
    reported = seen.get("error", "")
    return seen if reported == error or (reported and not error and "code" not in reported) else {}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_is_seen_and_costs_nothing(
    world: FaultWorld, worker: Watched, user: str, name: str
) -> None:
    """The events wait, `/health` and `/metrics` say why, and after it each is stored once."""
    trouble, kind, error = TROUBLES[name]
    labels = {"server": "clickhouse", "kind": kind}
    before = worker.metric("usagepipe_store_failures_total", **labels)

    with trouble(world):
        world.send(user, EVENTS)
        seen = eventually(lambda: trouble_of(worker, error), SECONDS, worker.program.tail)
        status, report = worker.health()
    world.await_stored(user, EVENTS, worker)

    assert (503, "degraded") == (status, report["state"])
    assert kind == seen["kind"]
    assert worker.metric("usagepipe_store_failures_total", **labels) > before
    eventually(worker.is_running, SECONDS, worker.program.tail)
    assert all_of(EVENTS) == world.stored(user)


@pytest.mark.alone
def test_a_backlog_is_left_in_kafka(world: FaultWorld, worker: Watched, user: str) -> None:
    """Each partition holds one batch and the next; the rest is not fetched."""
    with world.proxy.failing(answers(503)):
        begun = time.monotonic()
        world.send(user, BACKLOG)
        eventually(worker.trouble, SECONDS, worker.program.tail)
        time.sleep(4)  # the outage itself, not a wait for luck
        tries = [moment for moment in world.proxy.inserts if moment > begun]
        seconds = time.monotonic() - begun
        buffered = worker.metric("usagepipe_buffered_rows")
    world.await_stored(user, BACKLOG, worker)

    assert 0 < buffered <= PARTITIONS * 3 * BATCH_ROWS
    assert worker.memory_mib("VmHWM") < MEMORY_MIB
    # Each partition worker waits twice as long each time, up to 3 s, and none as long as another.
    assert PARTITIONS <= len(tries) <= PARTITIONS * (6 + seconds / 1.5)
    pauses = {round(later - earlier, 2) for earlier, later in pairwise(tries)}
    assert len(pauses) > len(tries) / 2
    assert all_of(BACKLOG) == world.stored(user)


def test_a_worker_joins_while_inserts_run(world: FaultWorld, worker: Watched, user: str) -> None:
    """Partitions move away from under slow inserts; what both send is stored once."""
    with world.proxy.failing(holds(INSERT_SECONDS / 2)):
        world.send(user, EVENTS)
        second = world.start_worker()
        world.send(user, EVENTS)
        eventually(lambda: second.metric("usagepipe_partitions") < PARTITIONS, SECONDS)
    world.await_stored(user, 2 * EVENTS, worker)
    assert 0 == second.program.stop()

    world.send(user, EVENTS)
    world.await_stored(user, 3 * EVENTS, worker)

    assert all_of(3 * EVENTS) == world.stored(user)


@pytest.mark.skipif("CHAOS_SEEDS" not in os.environ, reason="`make chaos` runs it: 30 s")
def test_a_broker_dies_while_inserts_run(
    crashable_kafka: ApacheKafka, tmp_path_factory: pytest.TempPathFactory, user: str
) -> None:
    """What is inserted is announced already; it is acknowledged when the broker is back."""
    name = f"test.{uuid.uuid4().hex}.v1"
    folder = tmp_path_factory.mktemp("broker")
    with fault_world(folder, crashable_kafka.bootstrap, name) as world:
        worker = world.start_worker()
        with world.proxy.failing(holds(INSERT_SECONDS / 2)):
            world.send(user, EVENTS)
            eventually(lambda: world.proxy.inserts, SECONDS, worker.program.tail)
            crashable_kafka.kill()
            eventually(lambda: not worker.is_running(), SECONDS, worker.program.tail)
            crashable_kafka.start()
        world.send(user, EVENTS)
        world.await_stored(user, 2 * EVENTS, worker)

        assert all_of(2 * EVENTS) == world.stored(user)
