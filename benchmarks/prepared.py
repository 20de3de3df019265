"""The bodies of inserts as the worker makes them of the filled topic: cut and encoded before."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place

from benchmarks.world import PARTITIONS, TOPIC, World
from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.record_batches import DecodedBatch
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.batch import Batch, BatchPolicy
from usagepipe.consumer.protocol.batcher import Batcher
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.schemas import Settings

SECONDS: Final = 30
CONSUME_SECONDS: Final = 0.2  # it waits for all of them, which at the log's end never come
TOPIC_ID: Final = "b" * 22  # as long as Kafka's
RUN_RECORDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Read:
    """A record as the worker's rows ask for it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def batches(bootstrap: str, partition: int, settings: Settings) -> Iterator[Batch]:
    """The batches of a partition, as a worker that has all partitions cuts a backlog."""
    own = TopicPartition(TOPIC, partition)
    batcher = Batcher(own, 0, BatchPolicy.of(settings))
    for index, records in enumerate(_runs(bootstrap, partition)):
        batcher.add(Chunk(own, [DecodedBatch.of(records)], 0, index), 0)
        while batcher.seconds_to_close(0) == 0:
            yield batcher.cut()
    while batcher.rows:
        yield batcher.cut()


def _runs(bootstrap: str, partition: int) -> Iterator[list[Read]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-prepared"})
    _, end = consumer.get_watermark_offsets(Place(TOPIC, partition), SECONDS)
    consumer.assign([Place(TOPIC, partition, 0)])
    position = 0
    while position < end:
        records = [
            Read(message.offset() or 0, message.timestamp()[1], None, message.value())
            for message in consumer.consume(RUN_RECORDS, CONSUME_SECONDS)
        ]
        if records:
            position = records[-1].offset + 1
            yield records
    consumer.close()


def prepare(world: World, settings: Settings) -> Path:
    """The folder with a file for each insert, in the order a worker would make them."""
    folder = world.folder / "bodies"
    if not folder.exists():
        folder.mkdir()
        per_partition = [
            batches(world.kafka.bootstrap, number, settings) for number in range(PARTITIONS)
        ]
        # Partitions take turns.
        for turn, some in enumerate(zip_longest(*per_partition)):
            for batch in filter(None, some):
                rows = encode_rows(batch.records(), batch.partition, TOPIC_ID, 0)
                name = f"{turn:04}-{batch.partition.partition}"
                (folder / name).write_bytes(rows.body)
    return folder
