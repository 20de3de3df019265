"""Markers of transactions and aborted records are no events."""

import struct

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.support.fake_records import PARTITION, record_batch
from tests.support.read_batches import offsets
from usagepipe.consumer.log.record_batches import (
    record_batches_of,
)


def transactional(first: int, count: int, producer: int) -> bytes:
    """A record batch of a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 10)
    for delta in range(count):
        builder.append(delta, timestamp=1, key=None, value=b"x", headers=[])
    return at(first, builder)


def marker(first: int, producer: int, *, commits: bool) -> bytes:
    """The end of a producer's transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 10)
    key = b"\0\0\0\1" if commits else b"\0\0\0\0"
    builder.append(0, timestamp=1, key=key, value=b"\0\0\0\0\0\0", headers=[])
    return at(first, builder, control=True)


def at(first: int, builder: DefaultRecordBatchBuilder, *, control: bool = False) -> bytes:
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, first)
    data[22] |= 0x20 if control else 0  # attributes
    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    return bytes(data)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_a_marker_of_a_transaction_is_no_pack() -> None:
    """Its offset is passed all the same, and nothing is missing there."""
    (found,) = record_batches_of(PARTITION, memoryview(marker(0, 1, commits=True)), 0)

    assert (None, 1, []) == (found.record_batch, found.next_offset, list(found.missing))


def test_aborted_records_are_no_packs() -> None:
    """Those of one producer's transaction, up to its marker; others' in between count."""
    log = [
        transactional(0, 3, producer=7),
        transactional(3, 2, producer=8),
        record_batch(5, b"plain"),
        transactional(6, 1, producer=7),
        marker(7, 7, commits=False),
        transactional(8, 2, producer=7),
        marker(10, 8, commits=True),
        marker(11, 7, commits=True),
    ]

    steps = list(record_batches_of(PARTITION, memoryview(b"".join(log)), 0, [(7, 0)]))

    assert [[3, 4], [5], [8, 9]] == [
        offsets(s.record_batch) for s in steps if s.record_batch is not None
    ]
    assert [(0, 2), (6, 6)] == [step.aborted for step in steps if step.aborted is not None]
    assert [] == [each for step in steps for each in step.missing]
