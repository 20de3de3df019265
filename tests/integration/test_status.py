"""`usagepipe status` on real servers: it sees whether anything consumes the topic."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.support.commands import usagepipe
from tests.support.dead_letters import await_topics, write_dead_letters
from tests.support.fake_records import FakeRecord
from tests.support.ports import lasting_port
from tests.support.programs import Programs
from tests.support.running_worker import (
    event,
    health,
    metric,
    start_worker,
    wait_until_committed,
)
from tests.support.topics import send
from tests.support.waiting import eventually
from usagepipe.schemas import Settings, encode
from usagepipe.schemas.settings import ClickHouseAddress

EVENTS = 12
PARTITIONS = 4


@pytest.fixture
def world(settings: Callable[..., Settings], migrated: ClickHouseAddress) -> Settings:
    """A topic with its dead letters, a group and tables of this test's own."""
    made = settings()
    await_topics(made.kafka, made.topic)
    return made


def status(settings: Settings, **replaced: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and the printed JSON object."""
    options = [text for name, value in replaced.items() for text in (f"--{name}", value)]
    ended = usagepipe(settings, "status", "--json", *options)
    return ended.status, ended.json()


def fill(settings: Settings) -> None:
    for number in range(EVENTS):
        send(settings.kafka, settings.topic, [encode(event(number))], partition=number % PARTITIONS)


def test_records_that_nobody_consumes_are_status_1(world: Settings) -> None:
    """Without a worker, lag is counted in events and in seconds."""
    fill(world)

    code, found = status(world)

    assert (1, False, EVENTS) == (code, found["consumed"], found["waiting"])
    assert [] == found["members"]
    assert EVENTS == sum(each["lag"] for each in found["partitions"])
    assert all(0 <= each["lag_seconds"] < 600 for each in found["partitions"])
    assert {None} == {each["member"] for each in found["partitions"]}


def test_an_empty_topic_needs_no_consumer(world: Settings) -> None:
    """No record waits, so a missing worker is not a fault."""
    code, found = status(world)

    assert (0, True, 0) == (code, found["consumed"], found["waiting"])


def test_a_worker_is_seen_with_its_partitions_and_the_age_of_its_rows(
    world: Settings, run_program: Programs
) -> None:
    """All partitions have a member, nothing waits, and the newest event is young."""
    fill(world)
    worker = start_worker(run_program, world)
    wait_until_committed(world, worker)

    code, found = status(world)

    assert (0, 0) == (code, found["waiting"])
    (member,) = found["members"]
    assert str(worker.pid) == member["client_id"].rpartition(":")[2]
    assert [each["partition"] for each in found["partitions"]] == member["partitions"]
    assert 0 <= found["newest_stored_age_seconds"] < 600


def test_a_stopped_worker_is_missed_as_soon_as_records_wait(
    world: Settings, run_program: Programs
) -> None:
    """Stored events stay visible; the new ones count as waiting."""
    fill(world)
    worker = start_worker(run_program, world)
    wait_until_committed(world, worker)
    worker.kill()
    fill(world)

    eventually(lambda: not status(world)[1]["members"], 60, "the group to lose its member")
    code, found = status(world)

    assert (1, EVENTS) == (code, found["waiting"])
    assert found["newest_stored_age_seconds"] is not None


def test_marks_of_transactions_do_not_wait(world: Settings, run_program: Programs) -> None:
    """A committed transaction ends with a control record, which is not stored."""
    worker = start_worker(run_program, world)
    producer = Producer({"bootstrap.servers": world.kafka, "transactional.id": world.topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(world.topic, encode(event(1)), partition=0)
    producer.commit_transaction(30)

    def is_stored() -> bool:
        return status(world)[1]["newest_stored_age_seconds"] is not None

    eventually(is_stored, 60, worker.tail)
    eventually(lambda: status(world)[1]["waiting"] == 0, 30, "nothing to wait")


def test_dead_letters_of_the_last_hour_are_counted_by_reason(world: Settings) -> None:
    """Each dead letter counts once."""
    write_dead_letters(world.kafka, world.topic, FakeRecord(1, b"x"), FakeRecord(2, b"y"))

    _, found = status(world)

    assert {"not_json": 2} == found["dead_letters_last_hour"]


def test_kafka_is_shown_while_clickhouse_is_away(world: Settings) -> None:
    """Exit status 3, yet the lag is known."""
    fill(world)

    code, found = status(world, clickhouse=f"http://127.0.0.1:{lasting_port()}/default")

    assert (3, EVENTS) == (code, found["waiting"])
    assert "cannot be reached" in found["problems"][0]


def test_a_parked_partition_is_status_1_and_shows_in_the_workers_lag(
    world: Settings, run_program: Programs
) -> None:
    """A member holds the partition, yet its records wait for an operator."""
    send(world.kafka, world.topic, [b"no event"] * 60, partition=2)
    send(world.kafka, world.topic, [encode(event(1))], partition=0)
    worker = start_worker(run_program, world, dead_letter_run=50)
    eventually(lambda: health(worker).get("parked"), 60, worker.tail)
    eventually(lambda: metric(worker, 'usagepipe_lag_events{partition="2"}') == 60, 30, worker.tail)
    eventually(lambda: status(world)[1]["waiting"] == 60, 30, worker.tail)  # partition 0 is stored

    code, found = status(world)

    assert (1, 60) == (code, found["waiting"])
    assert [2] == [each["partition"] for each in found["parked"]]
    eventually(lambda: metric(worker, 'usagepipe_lag_events{partition="0"}') == 0, 30, worker.tail)
    assert 0.0 == metric(worker, 'usagepipe_lag_seconds{partition="0"}')
    assert 0.0 < (metric(worker, 'usagepipe_lag_seconds{partition="2"}') or 0.0) < 600
    assert 0.0 < (metric(worker, 'usagepipe_newest_stored_age_seconds{partition="0"}') or 0.0) < 600
