"""Stands in for workers that have gone: what they left in the tables and in their group."""

import json
from collections.abc import Callable, Sequence

from usagepipe.consumer.group_offsets import GroupOffsets
from usagepipe.consumer.log_reader import LogReader
from usagepipe.consumer.reconcile import LogRecord
from usagepipe.consumer.records import TopicPartition
from usagepipe.consumer.rows import encode_rows
from usagepipe.consumer.writer import Writer
from usagepipe.schemas.settings import Settings


def store_log(
    settings: Settings,
    *,
    chosen: Callable[[LogRecord], bool] = lambda _: True,
    token: str = "worker",
) -> None:
    """Store the events of the whole topic, or the chosen ones, as workers would."""
    writer = Writer(settings.clickhouse_address, 30)
    with LogReader(settings.kafka, settings.topic) as log:
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
    group = GroupOffsets(settings.kafka, settings.group)
    with LogReader(settings.kafka, settings.topic) as log:
        for partition in partitions or log.partitions:
            offset = max(0, log.span(partition)[1] - short_by)
            metadata: dict[str, object] = {"usagepipe": 1, "topic_id": log.topic_id()}
            if announced:
                last = offset + announced - 1
                metadata |= {"first": offset, "last": last, "records": announced, "epoch": 0}
            group.commit(settings.topic, partition, offset, json.dumps(metadata))
    group.close()
