"""A log that moves under a running worker: retention that overtakes it, a recreated topic."""

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support import topics
from tests.support.programs import Programs
from tests.support.running_worker import (
    SECONDS,
    MakeSettings,
    event,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.waiting import eventually
from tests.support.worker import raw_counts, rollup_sums
from usagepipe.schemas import encode

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EVENTS = [encode(event(number)) for number in range(60)]


@pytest.mark.usefixtures("migrated")
def test_records_that_expire_unread_are_reported_exactly(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """A worker that stood still goes on at the log's new start, and names the offsets that are
    gone: aiokafka alone would step over them without a word.
    """
    made = settings()
    worker = start_worker(run_program, made)
    wait_until_running(worker)
    topics.send(made.kafka, made.topic, EVENTS[:10], partition=1)
    wait_until_committed(made, worker)

    worker.send_signal(signal.SIGSTOP)  # for less than its session
    topics.send(made.kafka, made.topic, EVENTS[10:30], partition=1)
    topics.delete_before(made.kafka, made.topic, partition=1, offset=25)
    worker.send_signal(signal.SIGCONT)
    wait_until_committed(made, worker)

    reported = [line for line in worker.stderr.splitlines() if "records_expired_unread" in line]
    assert 1 == len(reported)
    assert '"first": 10, "last": 24' in reported[0]
    assert (15, 15) == raw_counts(clickhouse_client)
    assert {15} == {requests for requests, _ in rollup_sums(clickhouse_client).values()}


@pytest.mark.usefixtures("migrated")
def test_a_topic_made_anew_under_a_running_worker_is_read_from_its_start(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Its offsets start again, and its events must not be mistaken for old ones."""
    made = settings()
    worker = start_worker(run_program, made)
    wait_until_running(worker)
    topics.send(made.kafka, made.topic, EVENTS[:30], partition=1)
    wait_until_committed(made, worker)

    topics.recreate(made.kafka, made.topic, 4)
    topics.send(made.kafka, made.topic, EVENTS[30:], partition=1)
    eventually(lambda: raw_counts(clickhouse_client)[1] == 60, SECONDS, worker.tail)

    ids = clickhouse_client.query(
        "SELECT uniqExact(kafka_topic_id), max(kafka_offset) FROM usage_events"
    ).result_rows
    assert [(2, 29)] == [tuple(row) for row in ids]
    assert (60, 60) == raw_counts(clickhouse_client)
