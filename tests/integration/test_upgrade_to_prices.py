"""A database from before prices is upgraded while the batch of an older worker is pending."""

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.chaos_balance import rollup_differences
from tests.support.commands import usagepipe
from tests.support.events import NOON
from tests.support.programs import Programs
from tests.support.running_worker import (
    MakeSettings,
    event,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.stored_events import insert_rows, rows_of
from tests.support.stored_log import commit_log
from tests.support.stored_prices import MODEL, house_book, versions, wrong_costs
from tests.support.topics import send
from tests.support.worker import raw_counts
from usagepipe.consumer.maintenance.log_records import LogRecord
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.clickhouse.migrations import load_migrations
from usagepipe.schemas.clickhouse.price_books import apply_book
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BEFORE_PRICES: Final = 24  # the last migration
BOOK: Final = house_book(1)
BATCH: Final = 10


def numbered(first: int, count: int, **fields: Any) -> list[UsageEvent]:
    given = {"model": MODEL, "occurred_at": NOON, "producer_id": "p"} | fields
    return [event(number, **given) for number in range(first, first + count)]


def arrived(milliseconds: int) -> str:
    """ClickHouse finds the token of a batch only in the table partition of its arrival."""
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).isoformat()


def store_as_before(client: "Client", settings: Settings, events: list[UsageEvent]) -> None:
    """Store the events at the start of partition 0, with the token of an older worker."""
    cluster = AdminClient({"bootstrap.servers": settings.kafka}).list_topics(timeout=30).cluster_id
    with closing(LogReader(settings, settings.topic)) as log:
        topic_id = log.topic_id()
        times = [LogRecord.of(each).timestamp for each in log.read(0, 0, len(events))]
    place = {"kafka_topic": settings.topic, "kafka_topic_id": topic_id}
    for first in range(0, len(events), BATCH):
        batch = events[first : first + BATCH]
        rows = b"\n".join(
            rows_of([each], **place, kafka_offset=offset, ingested_at=arrived(times[offset]))
            for offset, each in enumerate(batch, first)
        )
        announced = Announcement(topic_id, first, first + len(batch) - 1, len(batch), 0)
        insert_rows(client, rows, announced.token(str(cluster), 0))


@pytest.mark.parametrize("is_stored", [True, False])
def test_an_older_workers_batch_and_newer_ones_are_balanced(
    is_stored: bool,
    settings: MakeSettings,
    database: ClickHouseAddress,
    clickhouse_client: "Client",
    run_program: Programs,
) -> None:
    """The pending batch was announced without prices: its events keep their own costs, though a
    book prices them. It may be stored already. Newer events are priced, and their parts and units
    are counted right.
    """
    made, old = settings(), numbered(0, 2 * BATCH)
    migrate(made, migrations=[m for m in load_migrations() if m.version <= BEFORE_PRICES])
    send(made.kafka, made.topic, map(encode, old), partition=0)
    store_as_before(clickhouse_client, made, old if is_stored else old[:BATCH])
    commit_log(made, short_by=BATCH, announced=BATCH, partitions=[0])

    migrate(made)
    apply_book(clickhouse_client, BOOK, "tests", "")
    worker = start_worker(run_program, made)
    new = [
        *numbered(2 * BATCH, BATCH),
        *numbered(3 * BATCH, BATCH, part=1),
        *numbered(4 * BATCH, BATCH, failed=True, units={"web_searches": 1}),
    ]
    send(made.kafka, made.topic, map(encode, new), partition=0)
    wait_until_committed(made, worker)
    wait_until_running(worker)
    audit = usagepipe(made, "audit", "--wait", "2")

    assert 0 == audit.status, audit
    assert (5 * BATCH, 5 * BATCH) == raw_counts(clickhouse_client)
    assert [] == rollup_differences(clickhouse_client)
    assert [] == list(wrong_costs(clickhouse_client))
    assert {BOOK.version: 2 * BATCH} == versions(clickhouse_client)
