"""Writes what workers would have written: rows, and the offsets of their group."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing

from confluent_kafka import Producer

from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.maintenance.log_records import LogRecord
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.settings import Settings


def store_log(
    settings: Settings,
    *,
    chosen: Callable[[LogRecord], bool] = lambda _: True,
    token: str = "worker",
) -> None:
    """Store the events of the whole topic, or the chosen ones, as workers would."""
    writer = Writer(settings.clickhouse_address, 30)
    with closing(LogReader(settings, settings.topic)) as log:
        topic_id = log.topic_id()
        for partition in log.partitions:
            low, high = log.span(partition)
            records = [LogRecord.of(message) for message in log.read(partition, low, high)]
            taken = [record for record in records if chosen(record)]
            place = TopicPartition(settings.topic, partition)
            rows = encode_rows(taken, place, topic_id, 0)
            if rows.count:
                writer.insert(rows.body, f"{token}:{topic_id}:{partition}")
    writer.close()


def commit_log(
    settings: Settings, *, short_by: int = 0, announced: int = 0, partitions: Sequence[int] = ()
) -> None:
    """Commit the end of each partition, or `short_by` offsets before it.

    `announced`: of so many offsets after that a worker has announced the insert.
    """
    group = GroupOffsets(settings, settings.group)
    with closing(LogReader(settings, settings.topic)) as log:
        for partition in partitions or log.partitions:
            offset = max(0, log.span(partition)[1] - short_by)
            metadata: dict[str, object] = {"usagepipe": 1, "topic_id": log.topic_id()}
            if announced:
                last = offset + announced - 1
                metadata |= {"first": offset, "last": last, "records": announced, "epoch": 0}
            group.commit(settings.topic, partition, offset, json.dumps(metadata))
    group.close()


def write_dead_letter(settings: Settings, topic_id: str, partition: int, offset: int) -> None:
    """Write a dead letter with the coordinates of a record."""
    producer = Producer({"bootstrap.servers": settings.kafka})
    headers: dict[str, str | bytes | None] = {
        "topic": settings.topic,
        "topic_id": topic_id,
        "partition": str(partition),
        "offset": str(offset),
        "reason": "refused_by_clickhouse",
    }
    producer.produce(settings.dead_letter_topic, b"no event", headers=headers)
    assert 0 == producer.flush(30)
