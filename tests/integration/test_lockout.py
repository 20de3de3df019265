"""Workers that ClickHouse does not let in: at the start, and while they run."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import topics
from tests.support.clickhouse_server import url_of
from tests.support.faulty_proxy import FaultyProxy, answers
from tests.support.programs import Program, Programs
from tests.support.running_worker import (
    SECONDS,
    event,
    health,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.waiting import eventually
from tests.support.worker import raw_counts, rollup_sums
from usagepipe.schemas import encode
from usagepipe.schemas.settings import ClickHouseAddress, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MakeSettings = Callable[..., Settings]
WRONG_PASSWORD = answers(403, 516, "AUTHENTICATION_FAILED")
NO_RIGHT = answers(403, 497, "ACCESS_DENIED")
SECRET = "n0t-the-passw0rd"


@pytest.fixture
def proxy(migrated: ClickHouseAddress) -> Iterator[FaultyProxy]:
    """ClickHouse as one worker reaches it."""
    proxy = FaultyProxy(migrated.port)
    yield proxy
    proxy.close()


def through(proxy: FaultyProxy, address: ClickHouseAddress) -> str:
    return url_of(replace(address, port=proxy.port))


def send(settings: Settings, first: int, count: int) -> None:
    values = [encode(event(number)) for number in range(first, first + count)]
    topics.send(settings.kafka, settings.topic, values)


def partitions(worker: Program) -> Any:
    return health(worker).get("partitions")


def is_aside(worker: Program, why: str) -> bool:
    report = health(worker)
    troubles: Any = report.get("troubles", {})
    named = why in troubles.get("clickhouse", {}).get("why", "")
    return report.get("state") == "degraded" and report.get("partitions") == 0 and named


@pytest.mark.parametrize(
    ("fault", "why"), [(WRONG_PASSWORD, "password is wrong"), (NO_RIGHT, "lacks a right")]
)
def test_a_worker_that_is_locked_out_gives_its_partitions_to_others(
    settings: MakeSettings,
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    proxy: FaultyProxy,
    run_program: Programs,
    fault: Callable[..., None],
    why: str,
) -> None:
    """It takes its share again when ClickHouse accepts it, and every event is stored once."""
    made = settings()
    one = settings(clickhouse=through(proxy, migrated))
    locked_out = start_worker(run_program, one, lockout_seconds=2)
    healthy = start_worker(run_program, made)
    eventually(lambda: partitions(locked_out) == partitions(healthy) == 2, SECONDS)
    send(made, 0, 40)
    wait_until_committed(made, healthy)

    with proxy.failing(fault):
        send(made, 40, 40)
        eventually(lambda: is_aside(locked_out, why), SECONDS, locked_out.tail)
        eventually(lambda: partitions(healthy) == 4, SECONDS, healthy.tail)
        wait_until_committed(made, healthy)
    eventually(lambda: partitions(locked_out) == partitions(healthy) == 2, SECONDS, locked_out.tail)
    send(made, 80, 40)
    wait_until_committed(made, healthy)

    wait_until_running(locked_out)
    assert 1 == locked_out.stderr.count("partitions_given_up")
    assert [0, 0] == [locked_out.stop(), healthy.stop()]
    assert (120, 120) == raw_counts(clickhouse_client)
    assert {120} == {requests for requests, _ in rollup_sums(clickhouse_client).values()}


@pytest.mark.parametrize("table", ["usage_events", "parked_partitions"])
def test_a_worker_that_may_insert_and_not_read_gives_its_partitions_to_others(
    settings: MakeSettings,
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    run_program: Programs,
    table: str,
) -> None:
    """Nothing is stored before stored events and parked partitions are read."""
    proxy = FaultyProxy(migrated.port, reads_of=table)
    made = settings()
    one = settings(clickhouse=through(proxy, migrated))
    locked_out = start_worker(run_program, one, lockout_seconds=2)
    eventually(lambda: partitions(locked_out) == 4, SECONDS, locked_out.tail)

    with proxy.failing(NO_RIGHT):
        healthy = start_worker(run_program, made)  # what both take over they look up
        send(made, 0, 40)
        eventually(lambda: is_aside(locked_out, "lacks a right"), SECONDS, locked_out.tail)
        eventually(lambda: partitions(healthy) == 4, SECONDS, healthy.tail)
        wait_until_committed(made, healthy)
    eventually(lambda: partitions(locked_out) == partitions(healthy) == 2, SECONDS, locked_out.tail)

    assert 1 == locked_out.stderr.count("partitions_given_up")
    assert [0, 0] == [locked_out.stop(), healthy.stop()]
    proxy.close()
    assert (40, 40) == raw_counts(clickhouse_client)


def test_the_only_worker_goes_on_when_it_is_let_in_again(
    settings: MakeSettings,
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    proxy: FaultyProxy,
    run_program: Programs,
) -> None:
    """No worker takes its partitions meanwhile, and nothing is lost."""
    made = settings(clickhouse=through(proxy, migrated))
    worker = start_worker(run_program, made, lockout_seconds=2)
    wait_until_running(worker)

    with proxy.failing(WRONG_PASSWORD):
        send(made, 0, 40)
        eventually(lambda: is_aside(worker, "password is wrong"), SECONDS, worker.tail)
    wait_until_committed(made, worker)

    wait_until_running(worker)
    assert 0 == worker.stop()
    assert (40, 40) == raw_counts(clickhouse_client)


def test_a_worker_that_stands_aside_ends_at_once(
    settings: MakeSettings,
    migrated: ClickHouseAddress,
    proxy: FaultyProxy,
    run_program: Programs,
) -> None:
    """SIGTERM is obeyed outside the group, too."""
    made = settings(clickhouse=through(proxy, migrated))
    worker = start_worker(run_program, made, lockout_seconds=2)
    wait_until_running(worker)

    with proxy.failing(WRONG_PASSWORD):
        send(made, 0, 40)
        eventually(lambda: is_aside(worker, "password is wrong"), SECONDS, worker.tail)
        assert 0 == worker.stop(10)


def test_a_wrong_password_at_the_start_ends_the_worker(
    settings: MakeSettings, migrated: ClickHouseAddress, run_program: Programs
) -> None:
    """One message that names the address and not the password."""
    made = settings(clickhouse=url_of(replace(migrated, password=SECRET)))

    worker = start_worker(run_program, made)
    status = worker.wait(30)

    (line,) = [line for line in worker.stderr.splitlines() if "worker_refused" in line]
    assert 3 == status
    assert f"{migrated} refuses the user or the password" in line
    assert SECRET not in worker.stderr
