"""Records are read without their headers, and malformed ones stop nothing."""

import os
import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from tests.support.bombs import batch_of_headers
from tests.support.fake_records import PARTITION
from tests.support.memory import forget_peak, needs_proc, peak_bytes
from tests.support.read_batches import batches, fields
from usagepipe.consumer.log.record_batches import (
    record_batches_of,
)
from usagepipe.consumer.log.unpacking import MAX_UNPACKED_BYTES


@needs_proc
def test_the_headers_of_a_large_record_are_skipped() -> None:
    """A few kilobytes may hold thirty million of them; each would be an object."""
    value = os.urandom(1 << 16)
    data = batch_of_headers(DefaultRecordBatch.CODEC_ZSTD, 30_000_000, value)
    before = forget_peak()

    (batch,) = batches(data)

    assert [(0, value)] == [(record.offset, record.value) for record in batch.records()]
    assert peak_bytes() - before < 2 * MAX_UNPACKED_BYTES


def test_headers_are_not_kept() -> None:
    """Nobody reads them, and a batch in work would hold them all."""
    builder = DefaultRecordBatchBuilder(2, 4, 0, -1, -1, 0, 1 << 20)
    builder.append(0, timestamp=5, key=b"k", value=b"v", headers=[("name", b"text")])
    builder.append(1, timestamp=5, key=None, value=None, headers=[])

    (batch,) = batches(bytes(builder.build()))

    assert [(0, 5, b"k", b"v"), (1, 5, None, None)] == fields(batch.records())


@pytest.mark.parametrize("appended", [False, True])
def test_a_large_batch_is_read_as_aiokafka_would(appended: bool) -> None:
    """It is read by other means, which skip headers."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 8 << 20)
    for delta in range(300):
        key, value = (None, None) if delta == 7 else (b"k" * delta, os.urandom(9_000))
        headers = [("name", b"text"), ("none", None)][: delta % 3]
        builder.append(delta, timestamp=1_000 - delta, key=key, value=value, headers=headers)
    data = bytearray(builder.build())
    data[22] |= 8 * appended  # the broker's time stands in for all
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    stock = fields(DefaultRecordBatch(bytes(data)))

    (batch,) = batches(bytes(data))

    assert stock == fields(batch.records())


def _with_headers(name: str, count: int = 3) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for number in range(count):
        builder.append(number, 1_700_000_000_123, b"key", b"value", [(name, b"x")])
    return bytes(builder.build())


def _with_its_checksum(data: bytes) -> memoryview:
    """The batch with a checksum that fits its changed content."""
    return memoryview(data[:17] + calc_crc32c(data[21:]).to_bytes(4, "big") + data[21:])


@pytest.mark.parametrize("first", [0, 1])
def test_a_header_whose_name_is_no_text_does_not_stop_its_partition(first: int) -> None:
    """To brokers a name is bytes, and nobody here wants it: the records are read all the same, also
    where the fetch begins in the middle of the batch.
    """
    data = _with_its_checksum(_with_headers("abcd").replace(b"abcd", b"\xff\xfecd"))

    (step,) = record_batches_of(PARTITION, data, first)
    assert step.record_batch is not None
    records = step.record_batch.records()

    assert [(n, b"value") for n in range(first, 3)] == [(r.offset, r.value) for r in records]


def test_control_records_are_named_by_offset() -> None:
    """A batch whose records break off becomes letters; raised, it would stop the partition."""
    data = bytearray(_with_headers("abcd"))
    data[61] = 0x7F  # the length of the first record: into the next one's middle
    data[67:75] = b"\xff" * 8

    (step,) = record_batches_of(PARTITION, _with_its_checksum(bytes(data)), 0)
    assert step.record_batch is not None
    records = step.record_batch.records()

    assert [0, 1, 2] == [record.offset for record in records]
    assert {"batch_undecodable"} == {getattr(record, "reason", "") for record in records}
