"""What tests ask of a worker's world: offsets of its group, rows and sums of its tables."""

from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.support.ports import lasting_port
from usagepipe.schemas.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SECONDS = 30


def free_web_port() -> int:
    """A port for a worker's health and metrics."""
    return lasting_port()


def _consumer(settings: Settings) -> Consumer:
    return Consumer({"bootstrap.servers": settings.kafka, "group.id": settings.group})


def committed(settings: Settings) -> dict[int, int]:
    """The group's committed offset of each partition that holds a record."""
    ends = end_offsets(settings)
    consumer = _consumer(settings)
    places = [TopicPartition(settings.topic, number) for number in ends]
    try:
        return {place.partition: place.offset for place in consumer.committed(places, SECONDS)}
    except KafkaException as error:
        if error.args[0].retriable() or error.args[0].code() == KafkaError.NOT_COORDINATOR:
            return {}  # the group's coordinator is about to begin
        raise
    finally:
        consumer.close()


def end_offsets(settings: Settings) -> dict[int, int]:
    """The end of each partition that holds a record."""
    consumer = _consumer(settings)
    try:
        partitions = consumer.list_topics(settings.topic, SECONDS).topics[settings.topic].partitions
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(settings.topic, number), SECONDS)[
                1
            ]
            for number in partitions
        }
        return {number: end for number, end in ends.items() if end}
    finally:
        consumer.close()


def raw_counts(client: "Client") -> tuple[int, int]:
    """Rows, and distinct event ids."""
    ((rows, ids),) = client.query(
        "SELECT count(), uniqExact(event_id) FROM usage_events"
    ).result_rows
    return rows, ids


def rollup_sums(client: "Client") -> dict[str, tuple[int, int]]:
    """Requests and total tokens of each rollup, summed over all of it."""
    tables = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        " AND name LIKE 'rollup_%' AND engine NOT LIKE '%View'"
    ).result_rows
    sums = {}
    for (table,) in tables:
        ((requests, tokens),) = client.query(
            f"SELECT sum(requests), sum(total_tokens) FROM {table}"
        ).result_rows
        sums[table] = (requests, tokens)
    return sums
