"""Topics for tests: creates them, fills them with any bytes, and reads them to their end."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.waiting import eventually
from usagepipe.schemas import decode
from usagepipe.schemas.gap import is_gap
from usagepipe.schemas.settings import Settings
from usagepipe.schemas.topic_admin import ensure_topics
from usagepipe.schemas.topics import MAX_DEAD_LETTER_BYTES

SECONDS = 30


@dataclass(frozen=True, slots=True)
class Record:
    """What a record holds, untouched, and where it stands."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


def make_topics(bootstrap: str, topic: str, partitions: int) -> None:
    """Make the topic of events and the topic of its dead letters, as `usagepipe migrate` does."""
    settings = Settings.load(kafka=bootstrap, topic=topic, topic_partitions=partitions)
    ensure_topics(settings, wait_seconds=SECONDS)


def exists(bootstrap: str, topic: str) -> bool:
    """Whether the topic is there. Lists all topics: naming one could create it."""
    producer = Producer({"bootstrap.servers": bootstrap})
    return topic in producer.list_topics(timeout=SECONDS).topics


def send(
    bootstrap: str,
    topic: str,
    values: Iterable[bytes | None],
    *,
    partition: int = -1,
    key: bytes | None = None,
) -> None:
    """Send one record for each value and wait until all are acknowledged. -1: any partition."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.max.bytes": MAX_DEAD_LETTER_BYTES,
        }
    )
    failures: list[object] = []

    def delivered(error: object, _: Message) -> None:
        if error is not None:
            failures.append(error)

    for value in values:
        while True:
            try:
                producer.produce(topic, value, key, partition=partition, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(SECONDS)
    assert (0, []) == (left, failures)


def read(bootstrap: str, topic: str) -> list[Record]:
    """Every record on the topic now, by partition and offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests.read",  # never joined: partitions are assigned by hand
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": False,
        }
    )
    try:
        found = consumer.list_topics(topic, SECONDS).topics[topic]
        records = [
            record
            for partition in sorted(found.partitions)
            for record in _read_partition(consumer, topic, partition)
        ]
    finally:
        consumer.close()
    return records


def _read_partition(consumer: Consumer, topic: str, partition: int) -> Iterable[Record]:
    place = TopicPartition(topic, partition)
    low, high = consumer.get_watermark_offsets(place, SECONDS)
    if low == high:
        return
    consumer.assign([TopicPartition(topic, partition, low)])
    position = low
    while position < high:
        message = consumer.poll(SECONDS)
        assert message is not None, f"{topic}[{partition}] gave nothing at {position} of {high}"
        if error := message.error():
            raise AssertionError(str(error))
        record = _record(message)
        position = record.offset + 1
        yield record


def _record(message: Message) -> Record:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    # The client's types allow text where only bytes come back.
    key, value = cast(tuple[bytes | None, ...], (message.key(), message.value()))
    headers = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return Record(partition, offset, key, value, dict(headers))


def delete_before(bootstrap: str, topic: str, *, partition: int, offset: int) -> None:
    """Delete the records before `offset`, as retention does."""
    place = TopicPartition(topic, partition, offset)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for deleting in admin.delete_records([place]).values():
        assert deleting.result(SECONDS).low_watermark == offset


def recreate(bootstrap: str, topic: str, partitions: int) -> None:
    """Delete the topic and create another one with its name."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(SECONDS)
    eventually(lambda: not exists(bootstrap, topic), SECONDS, f"{topic} to be gone")
    make_topics(bootstrap, topic, partitions)


def sequences(bootstrap: str, topic: str) -> dict[str, list[int]]:
    """The numbers of the events on the topic by producer, in ascending order."""
    found: dict[str, list[int]] = defaultdict(list)
    for record in read(bootstrap, topic):
        if is_gap(record.value):
            continue
        stored = decode(record.value)
        found[stored.producer_id].append(stored.sequence or 0)
    return {producer_id: sorted(numbers) for producer_id, numbers in found.items()}
