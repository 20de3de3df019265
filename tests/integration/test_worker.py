"""The worker as a process, from a real topic into real tables."""

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support import topics
from tests.support.hostile import HOSTILE
from tests.support.programs import Programs
from tests.support.running_worker import (
    SECONDS,
    MakeSettings,
    event,
    health,
    metric,
    start_worker,
    wait_until_running,
)
from tests.support.waiting import eventually
from tests.support.worker import committed, end_offsets, raw_counts, rollup_sums
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import EventRejectedError, UsageEvent, decode, encode
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.topics import dead_letter_topic

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.mark.usefixtures("migrated")
def test_every_event_becomes_a_row_and_a_part_of_each_rollup(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """The produced events, the stored rows and the sums of each rollup agree."""
    made = settings()
    sent = [event(number) for number in range(5_000)]
    topics.send(made.kafka, made.topic, [encode(each) for each in sent])
    expected = (len(sent), sum(each.total_tokens for each in sent))

    start_worker(run_program, made, batch_rows=700)
    eventually(lambda: committed(made) == end_offsets(made), SECONDS, "all offsets committed")

    assert (len(sent), len(sent)) == raw_counts(clickhouse_client)
    assert {"rollup_usage_15m": expected, "rollup_usage_1d": expected} == rollup_sums(
        clickhouse_client
    )


@pytest.mark.usefixtures("migrated")
def test_hostile_records_are_rows_or_dead_letters_and_neighbours_are_stored(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """T-62, T-64: each record is exactly one row or one dead letter, as the model decides."""
    made = settings()
    values: list[bytes | None] = []
    for number, value in enumerate(HOSTILE.values()):
        values += [encode(event(number)), value]
    topics.send(made.kafka, made.topic, values, partition=2, key=b"a key")
    fates = {offset: _reason(value) for offset, value in enumerate(values)}
    rows = sorted(offset for offset, reason in fates.items() if reason is None)
    letters = {offset: reason for offset, reason in fates.items() if reason is not None}

    start_worker(run_program, made, batch_rows=10, dedup_days=0)  # they share their event_id
    eventually(lambda: committed(made) == end_offsets(made), SECONDS, "all offsets committed")

    stored = clickhouse_client.query(
        "SELECT kafka_partition, kafka_offset FROM usage_events ORDER BY kafka_offset"
    ).result_rows
    found = topics.read(made.kafka, dead_letter_topic(made.topic))
    reported = {int(letter.headers["offset"] or b""): letter for letter in found}
    assert [(2, offset) for offset in rows] == [tuple(row) for row in stored]
    assert letters == {
        o: (letter.headers["reason"] or b"").decode() for o, letter in reported.items()
    }
    assert len(letters) == len(found)
    assert all(values[offset] == letter.value for offset, letter in reported.items())
    assert {b"a key"} == {letter.key for letter in found}
    assert {b"2"} == {letter.headers["partition"] for letter in found}


def _reason(value: bytes | None) -> str | None:
    try:
        decode(value)
    except EventRejectedError as error:
        return error.reason
    return None


@pytest.mark.usefixtures("migrated")
def test_a_row_holds_what_the_event_said(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """T-64: quotes, NUL, emoji and exact costs are returned unchanged."""
    made = settings()
    sent = event(
        41,
        user_name="O'Brien \"\\ \0 \n 👩‍🚀 '); DROP TABLE usage_events; --",
        cost="0.000000000001",
        tags={"a'b": "<script>", "ü": "\0"},
        ttft_ms=12,
        failed=True,
        usage_quality="partial",
    )
    topics.send(made.kafka, made.topic, [encode(sent)])

    start_worker(run_program, made)
    columns = ", ".join(UsageEvent.model_fields)
    query = f"SELECT {columns} FROM usage_events"
    row = eventually(
        lambda: list(clickhouse_client.query(query).named_results()), SECONDS, "the row"
    )

    kept = sent.model_copy(update={"cost_source": "stamped", "reported_cost": sent.cost})
    assert [kept] == [_event(each) for each in row]


def _event(row: dict[str, object]) -> UsageEvent:
    """The event of a row; a driver gives times without a zone for UTC columns."""
    names = ("event_id", "cost", "reported_cost")
    text = {name: str(row[name]) for name in names}
    moment = str(row["occurred_at"]).removesuffix("+00:00").replace(" ", "T") + "Z"
    return decode(json.dumps(row | text | {"occurred_at": moment}).encode())


@pytest.mark.usefixtures("migrated")
def test_two_workers_share_the_partitions_and_lose_nothing(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """A worker that joins and one that leaves in the middle cost no event."""
    made = settings()
    sent = [event(number) for number in range(20_000)]
    first = start_worker(run_program, made, batch_rows=500)
    wait_until_running(first)
    topics.send(made.kafka, made.topic, [encode(each) for each in sent[:10_000]])

    start_worker(run_program, made, batch_rows=500)
    topics.send(made.kafka, made.topic, [encode(each) for each in sent[10_000:]])
    status = first.stop()
    eventually(lambda: committed(made) == end_offsets(made), SECONDS, "all offsets committed")

    assert 0 == status
    assert len(sent) == raw_counts(clickhouse_client)[1]


@pytest.mark.usefixtures("migrated")
def test_a_stopped_worker_has_stored_and_committed_what_it_fetched(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """SIGTERM drains: a batch that would wait for a minute is stored before the end."""
    made = settings()
    worker = start_worker(run_program, made, batch_seconds=60)
    wait_until_running(worker)
    topics.send(made.kafka, made.topic, [encode(event(number)) for number in range(100)])
    eventually(lambda: metric(worker, "usagepipe_buffered_rows") == 100, SECONDS, "all fetched")

    status = worker.stop()

    assert 0 == status
    assert (100, 100) == raw_counts(clickhouse_client)
    assert end_offsets(made) == committed(made)


@pytest.mark.usefixtures("migrated")
def test_a_killed_worker_loses_nothing(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """T-61, first half: the next worker reads uncommitted records again."""
    made = settings()
    topics.send(made.kafka, made.topic, [encode(event(number)) for number in range(30_000)])
    worker = start_worker(run_program, made, batch_rows=300)
    eventually(lambda: raw_counts(clickhouse_client)[0] > 1_000, SECONDS, "some rows")

    worker.send_signal(signal.SIGKILL)
    start_worker(run_program, made)
    eventually(lambda: committed(made) == end_offsets(made), SECONDS, "all offsets committed")

    assert 30_000 == raw_counts(clickhouse_client)[1]


@pytest.mark.usefixtures("migrated")
def test_health_and_metrics_report_what_the_worker_does(
    settings: MakeSettings, run_program: Programs
) -> None:
    """A running worker answers 200, and counts rows and dead letters."""
    made = settings()
    worker = start_worker(run_program, made)
    topics.send(made.kafka, made.topic, [encode(event(1)), b"nonsense", encode(event(2))])

    eventually(lambda: metric(worker, "usagepipe_rows_stored_total") == 2, SECONDS, "two rows")

    assert "running" == health(worker)["state"]
    assert 1 == metric(worker, 'usagepipe_dead_letters_total{reason="not_json"}')


@pytest.mark.usefixtures("migrated")
def test_a_worker_waits_for_a_topic_that_nobody_made_and_makes_none(
    settings: MakeSettings, run_program: Programs, topic_name: str, clickhouse_client: "Client"
) -> None:
    """It names the missing table, leaves its creation to `migrate`, and starts when it exists."""
    made = settings(topic=topic_name)
    worker = start_worker(run_program, made)
    eventually(lambda: "topic" in str(health(worker)), SECONDS, "the missing topic in /health")
    there = topics.exists(made.kafka, topic_name)

    topics.make_topics(made.kafka, topic_name, 4)
    topics.send(made.kafka, topic_name, [encode(event(1))])
    eventually(lambda: raw_counts(clickhouse_client) == (1, 1), SECONDS, worker.tail)

    assert not there
    assert "topic_missing" in worker.stderr


def test_an_idle_worker_reports_that_its_servers_are_gone(
    crashable_clickhouse: LocalClickHouse,
    kafka: str,
    topic: str,
    settings: MakeSettings,
    run_program: Programs,
) -> None:
    """/health turns to 503 and names the server, and back, without an event to store."""
    made = settings(kafka=kafka, topic=topic, clickhouse=f"{crashable_clickhouse.url}/idle")
    migrate(made, wait_seconds=30)
    worker = start_worker(run_program, made)
    wait_until_running(worker)

    crashable_clickhouse.kill()
    eventually(lambda: "clickhouse_unreachable" in str(health(worker)), SECONDS, worker.tail)
    crashable_clickhouse.start()
    wait_until_running(worker)

    assert 0 == worker.stop()
