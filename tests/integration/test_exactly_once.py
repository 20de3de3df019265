"""What may come twice, be refused or get lost between the log and the tables, and is put right."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support import topics
from tests.support.programs import Program, Programs
from tests.support.running_worker import (
    SECONDS,
    MakeSettings,
    event,
    metric,
    start_doomed_worker,
    start_worker,
    wait_until_committed,
)
from tests.support.waiting import eventually
from tests.support.worker import raw_counts, rollup_sums
from usagepipe.consumer.worker.insertion import CLOCK_SECONDS
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.topics import dead_letter_topic

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.usefixtures("migrated")
KEY = b"a key"


def sums_of(events: list[UsageEvent]) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(
        ("rollup_usage_15m", "rollup_usage_1d"),
        (len(events), sum(each.total_tokens for each in events)),
    )


def send(settings: Settings, events: list[UsageEvent], partition: int = 0) -> None:
    values = [encode(each) for each in events]
    topics.send(settings.kafka, settings.topic, values, partition=partition, key=KEY)


def letters(settings: Settings) -> list[topics.Record]:
    return topics.read(settings.kafka, dead_letter_topic(settings.topic))


@contextmanager
def doomed(folder: Path, settings: Settings, points: str, **options: object) -> Iterator[Program]:
    """A worker that has ended at one of `points`."""
    program = start_doomed_worker(folder, settings, points, **options)
    try:
        assert -9 == program.wait(SECONDS), program.tail()
        yield program
    finally:
        program.kill()


def test_an_event_that_comes_again_is_stored_once(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """A spill sent twice, at once and later, in the same partition and in another."""
    made = settings()
    events = [event(number) for number in range(600)]
    worker = start_worker(run_program, made, batch_rows=250)
    send(made, events[:300] + events[100:200] + events)
    wait_until_committed(made, worker)

    send(made, events[::-1])
    send(made, [*events[:50], event(600)], partition=1)
    wait_until_committed(made, worker)

    stored = [*events, event(600)]
    assert (601, 601) == raw_counts(clickhouse_client)
    assert sums_of(stored) == rollup_sums(clickhouse_client)
    skipped = sum(
        metric(worker, f'usagepipe_duplicates_total{{reason="{reason}"}}') or 0
        for reason in ("stored", "batch")
    )
    assert 100 + 300 + 600 + 50 == skipped


def test_duplicates_outlive_a_kill_between_announcement_and_insert(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client", tmp_path: Path
) -> None:
    """The next owner skips the announced duplicates and nothing else."""
    made = settings()
    events = [event(number) for number in range(300)]
    send(made, [*events, *events[50:150], *(event(number) for number in range(300, 400))])

    with doomed(tmp_path, made, "after_insert=kill#2", batch_rows=330):
        worker = start_worker(run_program, made, batch_rows=77)
    wait_until_committed(made, worker)

    assert (400, 400) == raw_counts(clickhouse_client)
    assert sums_of([event(number) for number in range(400)]) == rollup_sums(clickhouse_client)


@pytest.fixture
def refusing(clickhouse_client: "Client", migrated: object) -> None:
    """A table that does not take every valid event: somebody has added a constraint."""
    clickhouse_client.command(
        "ALTER TABLE usage_events ADD CONSTRAINT no_poison CHECK model != 'poison'"
    )


@pytest.mark.usefixtures("refusing")
def test_a_row_that_clickhouse_refuses_is_a_dead_letter_and_its_neighbours_are_stored(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """The refused batch is cut around the row that ClickHouse names: few inserts, no neighbour."""
    made = settings()
    bad = event(70, model="poison")
    events = [event(number) for number in range(200)]
    send(made, [*events[:70], bad, *events[70:]])

    worker = start_worker(run_program, made, batch_rows=256)
    wait_until_committed(made, worker)

    (letter,) = letters(made)
    assert encode(bad) == letter.value
    assert b"refused_by_clickhouse" == letter.headers["reason"]
    assert (b"469", b"no_poison") == (letter.headers["code"], letter.headers["column"])
    assert (b"0", b"70") == (letter.headers["partition"], letter.headers["offset"])
    assert (200, 200) == raw_counts(clickhouse_client)
    assert sums_of(events) == rollup_sums(clickhouse_client)
    assert 2 == metric(worker, "usagepipe_refused_batches_total")  # the whole, and the row alone
    assert 2 == metric(worker, "usagepipe_insert_seconds_count")  # before it, and after it
    assert "poison" not in worker.stderr.replace("no_poison", "")


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize(
    "point", ["after_refusal=kill#2", "after_announce=kill#3", "after_insert=kill#1"]
)
def test_a_bisection_outlives_a_kill_between_two_steps(
    point: str,
    settings: MakeSettings,
    run_program: Programs,
    clickhouse_client: "Client",
    tmp_path: Path,
) -> None:
    """The announcement names the half that landed: the rest is cut again, and no row doubles."""
    made = settings()
    events = [event(number) for number in range(100)]
    send(made, [*events[:60], event(60, model="poison"), *events[60:]])

    with doomed(tmp_path, made, point, batch_rows=256):
        worker = start_worker(run_program, made, batch_rows=40)
    wait_until_committed(made, worker)

    assert {60} == {int(letter.headers["offset"] or b"") for letter in letters(made)}
    assert (100, 100) == raw_counts(clickhouse_client)
    assert sums_of(events) == rollup_sums(clickhouse_client)


@pytest.mark.parametrize("lost", ["all", "some", "all and the rollups"])
def test_rows_that_the_server_lost_after_remembering_their_token_are_written_again(
    lost: str,
    settings: MakeSettings,
    run_program: Programs,
    clickhouse_client: "Client",
    tmp_path: Path,
) -> None:
    """A server killed at the wrong moment: the repeated insert changes nothing, and is found."""
    made = settings()
    events = [event(number) for number in range(300)]
    send(made, events)

    with doomed(tmp_path, made, "after_insert=kill#2", batch_rows=100):
        remove = {"some": "kafka_offset BETWEEN 120 AND 130"}.get(lost, "kafka_offset >= 100")
        clickhouse_client.command(f"DELETE FROM usage_events WHERE {remove}")
        if "rollups" in lost:
            for table in rollup_sums(clickhouse_client):
                clickhouse_client.command(f"DELETE FROM {table} WHERE user_id = 'user-3'")
        worker = start_worker(run_program, made, batch_rows=1_000)
    wait_until_committed(made, worker)

    assert (300, 300) == raw_counts(clickhouse_client)
    assert sums_of(events) == rollup_sums(clickhouse_client)
    assert 1 == metric(worker, "usagepipe_incomplete_ranges_total")
    assert "rollups_rebuilt" in worker.stderr


@pytest.mark.parametrize("table", ["rollup_usage_15m", "rollup_usage_1d"])
def test_a_rollup_whose_killed_server_remembers_a_token_and_lost_the_rows_is_corrected(
    table: str,
    crashable_clickhouse: LocalClickHouse,
    kafka: str,
    topic: str,
    settings: MakeSettings,
    run_program: Programs,
    tmp_path: Path,
) -> None:
    """Raw is whole, and the repeated insert changes nothing in a table that knows its token."""
    made = settings(kafka=kafka, topic=topic, clickhouse=f"{crashable_clickhouse.url}/{table}")
    migrate(made, wait_seconds=30)
    events = [event(number) for number in range(300)]
    send(made, events)
    with doomed(tmp_path, made, "after_insert=kill#2", batch_rows=100):
        with connect(made.clickhouse_address) as client:
            client.command(f"DELETE FROM {table} WHERE user_id = 'user-3'")  # its token stays
        time.sleep(CLOCK_SECONDS + 1)  # start times have whole seconds
        crashable_clickhouse.kill()
        crashable_clickhouse.start()

        worker = start_worker(run_program, made, batch_rows=1_000)
        wait_until_committed(made, worker)

    with connect(made.clickhouse_address) as client:
        assert (300, 300) == raw_counts(client)
        assert sums_of(events) == rollup_sums(client)


@pytest.mark.parametrize("kept", [0, 130])
def test_rows_behind_the_committed_offset_are_not_stored_again(
    kept: int, settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """If commits expired or a broker dropped the announcement, the table decides."""
    made = settings()
    events = [event(number) for number in range(500)]
    send(made, events[:400])
    first = start_worker(run_program, made, batch_rows=60)
    wait_until_committed(made, first)
    assert 0 == first.stop()
    _commit(made, kept)
    send(made, events[400:])

    worker = start_worker(run_program, made, batch_rows=90, dedup_days=0)
    wait_until_committed(made, worker)

    assert (500, 500) == raw_counts(clickhouse_client)
    assert sums_of(events) == rollup_sums(clickhouse_client)
    assert "rows_after_commit" in worker.stderr


def test_a_topic_made_anew_is_read_from_its_start(
    settings: MakeSettings,
    run_program: Programs,
    topic_name: str,
    clickhouse_client: "Client",
) -> None:
    """Its offsets begin again at 0: the topic's id keeps its tokens and rows apart."""
    made = settings(topic=topic_name)
    topics.make_topics(made.kafka, topic_name, 1)
    events = [event(number) for number in range(100)]
    send(made, events[:50])
    first = start_worker(run_program, made)
    wait_until_committed(made, first)
    assert 0 == first.stop()
    _recreate(made)
    send(made, events[50:])

    worker = start_worker(run_program, made)
    wait_until_committed(made, worker)

    assert (100, 100) == raw_counts(clickhouse_client)
    assert sums_of(events) == rollup_sums(clickhouse_client)


def _commit(settings: Settings, offset: int) -> None:
    """Commit `offset` of partition 0 as another tool does: with nothing announced."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": settings.group})
    try:
        place = TopicPartition(settings.topic, 0, offset)
        eventually(lambda: _is_committed(consumer, place), SECONDS, "a commit into an empty group")
    finally:
        consumer.close()


def _is_committed(consumer: Consumer, place: TopicPartition) -> bool:
    consumer.commit(offsets=[place], asynchronous=False)
    return True


def _recreate(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    for deleted in admin.delete_topics([settings.topic]).values():
        deleted.result(SECONDS)
    eventually(
        lambda: not topics.exists(settings.kafka, settings.topic), SECONDS, "the topic is gone"
    )
    topics.make_topics(settings.kafka, settings.topic, 1)
