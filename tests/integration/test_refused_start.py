"""Workers that start while ClickHouse does not take their inserts: they hold no partition."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import topics
from tests.support.clickhouse_server import url_of
from tests.support.faulty_proxy import FaultyProxy, answers
from tests.support.ports import lasting_port
from tests.support.programs import Programs, as_environment
from tests.support.running_worker import (
    SECONDS,
    event,
    health,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.waiting import eventually
from tests.support.worker import raw_counts
from usagepipe.schemas import encode
from usagepipe.schemas.settings import ClickHouseAddress, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MakeSettings = Callable[..., Settings]
WRONG_PASSWORD = answers(403, 516, "AUTHENTICATION_FAILED")
SECRET = "n0t-the-passw0rd"


@pytest.fixture
def proxy(migrated: ClickHouseAddress) -> Iterator[FaultyProxy]:
    """ClickHouse as one worker reaches it."""
    proxy = FaultyProxy(migrated.port)
    yield proxy
    proxy.close()


@pytest.fixture
def without_right(migrated: ClickHouseAddress) -> Iterator[ClickHouseAddress]:
    """ClickHouse as a user reaches it who may store batches, but not run the preflight."""
    proxy = FaultyProxy(migrated.port, inserts_into="usagepipe_preflight_")
    with proxy.failing(answers(403, 497, "ACCESS_DENIED")):
        yield replace(migrated, port=proxy.port)
    proxy.close()


def clickhouse_trouble(report: dict[str, Any]) -> dict[str, Any]:
    troubles: dict[str, dict[str, Any]] = report.get("troubles", {})
    return troubles.get("clickhouse", {})


def assert_healthy_one_keeps_its_partitions(
    settings: MakeSettings, run_program: Programs, refused: ClickHouseAddress, reason: str
) -> None:
    healthy = start_worker(run_program, settings())
    wait_until_running(healthy)
    one = start_worker(run_program, settings(clickhouse=url_of(refused)))
    status = one.wait(SECONDS)

    (line,) = [line for line in one.stderr.splitlines() if "worker_refused" in line]
    assert reason in line
    assert SECRET not in one.stderr
    assert "assignment_began" not in one.stderr
    assert 1 == healthy.stderr.count("assignment_began")
    assert 4 == health(healthy)["partitions"]
    assert 3 == status
    assert 0 == healthy.stop()


def test_a_wrong_password_costs_the_others_no_partition(
    settings: MakeSettings, migrated: ClickHouseAddress, run_program: Programs
) -> None:
    """The refused worker ends without having joined the group."""
    assert_healthy_one_keeps_its_partitions(
        settings,
        run_program,
        replace(migrated, password=SECRET),
        f"{migrated} refuses the user or the password",
    )


def test_a_missing_right_costs_the_others_no_partition(
    settings: MakeSettings, without_right: ClickHouseAddress, run_program: Programs
) -> None:
    """Also one that no insert needs, but the preflight."""
    assert_healthy_one_keeps_its_partitions(settings, run_program, without_right, "lacks a right")


def test_a_worker_that_is_let_in_later_joins_then(
    settings: MakeSettings,
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    proxy: FaultyProxy,
    run_program: Programs,
) -> None:
    """Meanwhile its health names the cause, and that it waits for ClickHouse."""
    made = settings(clickhouse=url_of(replace(migrated, port=proxy.port)))
    topics.send(made.kafka, made.topic, [encode(event(number)) for number in range(40)])
    with proxy.failing(WRONG_PASSWORD):
        worker = start_worker(run_program, made)
        eventually(lambda: clickhouse_trouble(health(worker)), SECONDS, worker.tail)
        report = health(worker)
        eventually(lambda: len(proxy.inserts) > 4, SECONDS, worker.tail)
        assert "assignment_began" not in worker.stderr
    wait_until_committed(made, worker)

    wait_until_running(worker)
    assert ("degraded", 0) == (report["state"], report["partitions"])
    assert "ClickHouse" in str(report["waiting_for"])
    assert "password is wrong" in clickhouse_trouble(report)["why"]
    assert health(worker)["waiting_for"] is None
    assert 1 == worker.stderr.count("assignment_began")
    assert 0 == worker.stop()
    assert (40, 40) == raw_counts(clickhouse_client)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_waits_for_clickhouse_ends_at_once(
    settings: MakeSettings, run_program: Programs, number: signal.Signals
) -> None:
    """An unreachable ClickHouse ends no worker, and a signal does."""
    away = settings(clickhouse=f"http://127.0.0.1:{lasting_port()}/usagepipe")
    worker = start_worker(run_program, away)
    eventually(lambda: clickhouse_trouble(health(worker)), SECONDS, worker.tail)
    report = health(worker)
    worker.send_signal(number)

    assert 0 == worker.wait(10)
    assert ("degraded", 0) == (report["state"], report["partitions"])
    assert "connection refused" in clickhouse_trouble(report)["why"]
    assert "assignment_began" not in worker.stderr
    assert 1 == worker.stderr.count("worker_stopped")


@pytest.mark.parametrize("command", ["usage", "status", "audit", "dlq parked", "migrate"])
def test_a_command_whose_login_is_refused_ends_with_status_3(
    settings: MakeSettings, migrated: ClickHouseAddress, run_program: Programs, command: str
) -> None:
    """As where Kafka refuses the login; one line names the address, and no password."""
    made = settings(clickhouse=url_of(replace(migrated, password=SECRET)))

    refused = run_program(*command.split(), environment=as_environment(made))

    assert 3 == refused.wait()
    assert f"{migrated} refuses the user or the password" in refused.stderr
    assert SECRET not in refused.stderr + refused.stdout
