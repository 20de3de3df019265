"""Records that the log still has and whose raw rows have left: they are never stored again.

The rows leave by a real TTL. Brokers set a record's time themselves; the topics here keep the
producer's, so that records can be old.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from tests.support.commands import Ended, usagepipe
from tests.support.stored_events import insert_rows
from tests.support.stored_log import commit_log
from tests.support.waiting import eventually
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.maintenance.log_records import LogRecord
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DAY = timedelta(days=1)
OLD, YOUNG = range(10), range(10, 14)  # offsets
SUMS = {"usage_events": "count()", "rollup_usage_15m": "sum(requests)"}
SUMS["rollup_usage_1d"] = SUMS["rollup_usage_15m"]


@pytest.fixture
def world(
    settings: Callable[..., Settings], migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> Settings:
    """Tables of 20 days ago; events of 6 days ago and of now, each stored when it arrived."""
    made = settings()
    age_tables(clickhouse_client, 20 * DAY)
    keep_producers_time(made)
    now = datetime.now(UTC)
    send(made, [value(now - 6 * DAY, number) for number in OLD], now - 6 * DAY)
    send(made, [value(now, number) for number in YOUNG], now)
    store_at(clickhouse_client, made, OLD, now - 6 * DAY)
    store_at(clickhouse_client, made, YOUNG, now)
    commit_log(made, partitions=[0])
    return made


def value(moment: datetime, sequence: int) -> bytes:
    return encode(
        UsageEvent(
            event_id=uuid.uuid4(),
            occurred_at=moment,
            user_id=f"u-{sequence % 3}",
            producer_id="p",
            sequence=sequence + 1,
            total_tokens=5,
        )
    )


def send(settings: Settings, values: Sequence[bytes], moment: datetime) -> None:
    """Records of partition 0 that arrived at `moment`."""
    producer = Producer({"bootstrap.servers": settings.kafka})
    for each in values:
        milliseconds = int(moment.timestamp() * 1000)
        producer.produce(settings.topic, each, partition=0, timestamp=milliseconds)
    assert 0 == producer.flush(30)


def records(settings: Settings) -> list[LogRecord]:
    with closing(LogReader(settings, settings.topic)) as log:
        return [LogRecord.of(message) for message in log.read(0, *log.span(0))]


def store_at(
    client: "Client", settings: Settings, offsets: Sequence[int], moment: datetime
) -> None:
    """Store the records of partition 0 as a worker did at `moment`: one block."""
    with closing(LogReader(settings, settings.topic)) as log:
        topic_id = log.topic_id()
    chosen = [record for record in records(settings) if record.offset in offsets]
    rows = encode_rows(chosen, TopicPartition(settings.topic, 0), topic_id, 0)
    stored_at = {"stored_at": moment.isoformat()}
    lines = [json.dumps(json.loads(line) | stored_at) for line in rows.body.splitlines()]
    insert_rows(client, "\n".join(lines).encode())


def keep_producers_time(settings: Settings) -> None:
    entry = ConfigEntry(
        "message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource("topic", settings.topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    for changed in admin.incremental_alter_configs([resource]).values():
        changed.result(30)


def age_tables(client: "Client", age: timedelta) -> None:
    (made,) = client.query("SELECT * FROM usagepipe_migrations LIMIT 1").result_rows
    client.insert("usagepipe_migrations", [[*made[:-1], datetime.now(UTC) - age]])


def let_raw_rows_leave(settings: Settings, client: "Client", left: int) -> None:
    """Let raw rows stay for 3 days, and wait until those that are older have left."""
    migrate(settings.model_copy(update={"raw_retention_days": 3}))

    def have_left() -> bool:
        client.command("OPTIMIZE TABLE usage_events FINAL")
        return counts(client)[0] == left

    eventually(have_left)


def counts(client: "Client") -> list[int]:
    """Rows of raw, and what the rollups have counted."""
    sums = (client.query(f"SELECT {sum_} FROM {table}") for table, sum_ in SUMS.items())
    return [result.result_rows[0][0] for result in sums]


def run(settings: Settings, command: str, *arguments: str) -> Ended:
    return usagepipe(settings, command, "--wait", "5", *arguments)


def test_an_audit_reports_what_left_raw_and_repairs_nothing(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """It is not lost: the rollups hold it, and a row that is stored again would double them."""
    let_raw_rows_leave(world, clickhouse_client, left=4)

    audit = run(world, "audit", "--json")
    found = audit.json()["partitions"][0]
    reported = run(world, "audit", "--repair").out

    assert (0, [[0, 9]], []) == (audit.status, found["raw_expired"], found["missing"])
    assert 14 == found["log"] == found["stored"] + 10
    assert "Partition 0: 10 offsets have no row (0-9) and are older than what raw keeps" in reported
    assert [4, 14, 14] == counts(clickhouse_client)


def test_what_is_lost_of_a_day_that_raw_keeps_is_still_missing(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """And stored again, beside what has left."""
    let_raw_rows_leave(world, clickhouse_client, left=4)
    clickhouse_client.command("DELETE FROM usage_events WHERE kafka_offset = 12")

    audit = run(world, "audit", "--json")
    repaired = run(world, "audit", "--repair")

    found = audit.json()["partitions"][0]
    assert (1, [[0, 9]], [[12, 12]]) == (
        audit.status,
        found["raw_expired"],
        found["missing"],
    )
    assert 0 == repaired.status
    assert [4, 14, 14] == counts(clickhouse_client)


def test_a_replay_leaves_alone_what_left_raw(world: Settings, clickhouse_client: "Client") -> None:
    """Also a younger copy of an event whose first record is as old."""
    let_raw_rows_leave(world, clickhouse_client, left=4)
    send(world, [records(world)[3].value or b""], datetime.now(UTC))
    commit_log(world, partitions=[0])

    reported = run(world, "replay").out

    assert (
        "15 records: 4 were stored, 0 are duplicates of stored events, 0 are dead letters, 0"
        in reported
    )
    assert "11 have no row and are older than what raw keeps: they were left alone" in reported
    assert [4, 14, 14] == counts(clickhouse_client)


def test_what_left_by_a_retention_that_was_changed_since_is_left_alone(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """The tables keep rows long enough by now; what had left before is not stored again."""
    let_raw_rows_leave(world, clickhouse_client, left=4)
    migrate(world)

    reported = run(world, "audit", "--repair")
    replayed = run(world, "replay").out

    assert 0 == reported.status
    assert "10 have no row and are older than what raw keeps" in replayed
    assert [4, 14, 14] == counts(clickhouse_client)


def test_raw_rows_that_were_all_removed_are_left_alone(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """A table that was emptied, while the rollups stayed: only days it can have whole come back."""
    clickhouse_client.command("TRUNCATE TABLE usage_events")

    reported = run(world, "replay").out

    assert "10 have no row and are older than what raw keeps" in reported
    assert [4, 14, 14] == counts(clickhouse_client)


def test_a_loss_on_the_first_day_of_use_is_found_and_repaired(
    settings: Callable[..., Settings], migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """Tables may be made long before the first event: nothing has left them yet."""
    made, now = settings(), datetime.now(UTC)
    age_tables(clickhouse_client, 20 * DAY)
    send(made, [value(now, number) for number in OLD], now)
    store_at(clickhouse_client, made, OLD, now)
    commit_log(made, partitions=[0])
    clickhouse_client.command("DELETE FROM usage_events WHERE kafka_offset IN (0, 5)")

    audit = run(made, "audit", "--json")
    repaired = run(made, "audit", "--repair")

    assert [[0, 0], [5, 5]] == audit.json()["partitions"][0]["missing"]
    assert (1, 0) == (audit.status, repaired.status)
    assert [10, 10, 10] == counts(clickhouse_client)


def test_rows_that_left_are_known_by_what_the_rollups_hold(
    world: Settings, clickhouse_client: "Client"
) -> None:
    """What a rollup has of before the oldest row has left: raw is whole from the day after."""
    before = raw_complete_from(clickhouse_client)
    clickhouse_client.command("DELETE FROM usage_events WHERE kafka_offset < 10")

    after = raw_complete_from(clickhouse_client)

    stored = datetime.now(UTC) - 6 * DAY
    day_after = (stored + timedelta(minutes=15)).date() + DAY
    assert (None, day_after) == (before, after and after.date())
