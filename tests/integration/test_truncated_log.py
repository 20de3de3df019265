"""A log that loses its end and gives its offsets to other events (unclean election, crash)."""

import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_audit import audit, total
from tests.support import topics
from tests.support.apache_kafka import ApacheKafka
from tests.support.programs import Programs
from tests.support.running_worker import (
    SECONDS,
    MakeSettings,
    event,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.stored_log import commit_log, store_log
from tests.support.truncated_log import truncate_log
from tests.support.waiting import eventually
from tests.support.worker import raw_counts, rollup_sums
from usagepipe.consumer.maintenance.replay import Replayer
from usagepipe.consumer.maintenance.replay_plan import ReplayCounts, ReplayRequest
from usagepipe.schemas import encode
from usagepipe.schemas.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

KEPT, LOST = 90, 70  # of the first events, what the log keeps and what it loses
FIRST = [encode(event(number)) for number in range(KEPT + LOST)]
PARTITION = 1

pytestmark = pytest.mark.usefixtures("migrated")


@pytest.fixture
def truncated_settings(
    settings: MakeSettings, crashable_kafka: ApacheKafka, topic_name: str
) -> Settings:
    """Settings of a broker that can be killed, with a topic on it."""
    topics.make_topics(crashable_kafka.bootstrap, topic_name, 2)
    return settings(kafka=crashable_kafka.bootstrap, topic=topic_name)


def fill(made: Settings) -> None:
    """Send the first events in two parts: the log can be truncated between them."""
    topics.send(made.kafka, made.topic, FIRST[:KEPT], partition=PARTITION)
    topics.send(made.kafka, made.topic, FIRST[KEPT:], partition=PARTITION)


def lose_end(made: Settings, kafka: ApacheKafka, tmp_path: Path) -> None:
    """The broker crashes and returns without the last events."""
    kafka.kill()
    truncate_log(tmp_path / "kafka", made.topic, PARTITION, KEPT)
    kafka.start()


def replay(made: Settings) -> ReplayCounts:
    with closing(Replayer(made, f"{made.group}-replay", 5)) as replayer:
        request = ReplayRequest(partition=PARTITION)
        return replayer.run(replayer.plan(request), request)


def others(count: int) -> list[bytes]:
    """Events that are sent after the loss."""
    return [encode(event(1_000 + number)) for number in range(count)]


def assert_all_stored(client: "Client", count: int) -> None:
    """Each event once, in raw and in every rollup."""
    assert (count, count) == raw_counts(client)
    assert {count} == {requests for requests, _ in rollup_sums(client).values()}


@pytest.mark.parametrize("count", [40, 150], ids=["shorter", "longer"])
def test_other_events_at_old_offsets_are_stored_by_a_worker_that_runs_throughout(
    truncated_settings: Settings,
    crashable_kafka: ApacheKafka,
    run_program: Programs,
    clickhouse_client: "Client",
    tmp_path: Path,
    count: int,
) -> None:
    """Rows of the lost events are not mistaken for the new events at their offsets."""
    made = truncated_settings
    worker = start_worker(run_program, made, session_seconds=60)  # it stays a member
    wait_until_running(worker)
    fill(made)
    wait_until_committed(made, worker)

    worker.send_signal(signal.SIGSTOP)  # so that it meets the log when it has grown again
    lose_end(made, crashable_kafka, tmp_path)
    topics.send(made.kafka, made.topic, others(count), partition=PARTITION)
    worker.send_signal(signal.SIGCONT)
    total = KEPT + LOST + count
    eventually(lambda: raw_counts(clickhouse_client)[0] == total, SECONDS, worker.tail)
    wait_until_committed(made, worker)

    assert_all_stored(clickhouse_client, total)
    assert "log_cut" in worker.stderr


@pytest.mark.parametrize("count", [40, 150], ids=["shorter", "longer"])
def test_a_committed_offset_that_is_valid_again_is_not_trusted(
    truncated_settings: Settings,
    crashable_kafka: ApacheKafka,
    run_program: Programs,
    clickhouse_client: "Client",
    tmp_path: Path,
    count: int,
) -> None:
    """The log was truncated and grew while no worker ran: the offset is among other events."""
    made = truncated_settings
    worker = start_worker(run_program, made)
    fill(made)
    wait_until_committed(made, worker)
    worker.stop()

    lose_end(made, crashable_kafka, tmp_path)
    topics.send(made.kafka, made.topic, others(count), partition=PARTITION)
    worker = start_worker(run_program, made)
    total = KEPT + LOST + count
    eventually(lambda: raw_counts(clickhouse_client)[0] == total, SECONDS, worker.tail)
    wait_until_committed(made, worker)

    assert_all_stored(clickhouse_client, total)
    assert "log_cut" in worker.stderr


def test_the_audit_reports_a_truncated_log(
    truncated_settings: Settings,
    crashable_kafka: ApacheKafka,
    clickhouse_client: "Client",
    tmp_path: Path,
) -> None:
    """Rows of lost events diverge, and the new events at their offsets are missing until stored."""
    made, count = truncated_settings, 30
    fill(made)
    store_log(made)
    commit_log(made)
    lose_end(made, crashable_kafka, tmp_path)
    topics.send(made.kafka, made.topic, others(count), partition=PARTITION)
    commit_log(made)  # by a worker that took each row for the event at its offset

    status, before = audit(made)
    replayed = replay(made)
    again, after = audit(made)

    cut = [[KEPT, KEPT + LOST - 1]]
    assert (1, cut) == (status, before["partitions"][PARTITION]["diverged"])
    assert (count, KEPT) == (total(before, "missing"), total(before, "stored"))
    assert (count, KEPT) == (replayed.written, replayed.stored)
    assert (1, cut) == (again, after["partitions"][PARTITION]["diverged"])
    assert (0, KEPT + count) == (total(after, "missing"), total(after, "stored"))
    assert_all_stored(clickhouse_client, KEPT + LOST + count)
