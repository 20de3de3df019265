"""Records, chunks and dead letters as tests write them."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from usagepipe.consumer.dead_letters.record import Coordinates, DeadLetter, Envelope
from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.record_batches import DecodedBatch, record_batches_of
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.limits import Counts, DeadLetterLimits, Excess
from usagepipe.consumer.parking.parked import Parked, Reason, Report, Sample

PARTITION = TopicPartition("usage.events.v1", 3)


@dataclass(frozen=True)
class FakeRecord:
    """The fields of a record that a test needs."""

    offset: int
    value: bytes | None = b"{}"
    key: bytes | None = b"key"
    timestamp: int = 1_700_000_000_123


def chunk_of(
    *offsets: int, assignment_id: int = 1, index: int = 0, size: int = 2, remaining: int = 0
) -> Chunk:
    """A chunk of records at `offsets`, each of `size` bytes."""
    records = [FakeRecord(n, b"x" * size) for n in offsets]
    return Chunk(PARTITION, [DecodedBatch.of(records)], assignment_id, index, remaining)


def record_batch(
    first: int,
    *values: bytes,
    deltas: tuple[int, ...] = (),
    codec: int = 3,
    room: int = 1 << 20,
) -> bytes:
    """A record batch as a broker answers it; `deltas` where compaction left gaps."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, room)
    for delta, value in zip(deltas or range(len(values)), values, strict=True):
        builder.append(delta, timestamp=1_700_000_000_123, key=b"key", value=value, headers=[])
    data = bytearray(builder.build())
    data[:8] = struct.pack(">q", first)  # the checksum begins after it
    return bytes(data)


def compressed_chunk_of(*offsets: int, index: int = 0, size: int = 2) -> Chunk:
    """The same as one record batch, compressed as the broker has it; with gaps it is unpacked."""
    first = offsets[0]
    deltas = tuple(offset - first for offset in offsets)
    data = record_batch(first, *[b"x" * size] * len(offsets), deltas=deltas)
    found = record_batches_of(PARTITION, memoryview(data), first)
    return Chunk(
        PARTITION, [each.record_batch for each in found if each.record_batch is not None], 1, index
    )


def letters(values: Iterable[bytes | None]) -> list[DeadLetter]:
    """A letter of each value, at the offsets 0, 1, 2 … of partition 3."""
    return [
        DeadLetter(
            Envelope(
                Coordinates("id", 3, offset),
                "t",
                "gap",
                "",
                None,
                "",
                None,
                None,
                None,
                None,
                False,
            ),
            (),
            b"",
            value,
        )
        for offset, value in enumerate(values)
    ]


def parked_at(first: int, last: int) -> Parked:
    """A parking of these offsets, each of which is refused."""
    count = last - first + 1
    reasons = {"not_json": Reason(count, [Sample(first, "no JSON")])}
    excess = Excess(count, count, count, Counts())
    report = Report(count, reasons, excess, DeadLetterLimits(10, 0.2), "0.0.0")
    return Parked(PARTITION, "topic-id", first, last, report)
