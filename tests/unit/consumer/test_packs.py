"""Record batches of Kafka's stay packed, and hold exactly what stock would have given."""

import struct

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from tests.unit.consumer.records import PARTITION, record_batch
from usagepipe.consumer.packs import (
    Loose,
    Packed,
    are_packed,
    packs_of,
    split,
    split_behind,
)

CODECS = [
    0,
    DefaultRecordBatch.CODEC_GZIP,
    DefaultRecordBatch.CODEC_SNAPPY,
    DefaultRecordBatch.CODEC_LZ4,
    DefaultRecordBatch.CODEC_ZSTD,
]


def packs(data: bytes, offset: int = 0) -> list[Packed | Loose]:
    return [f.pack for f in packs_of(PARTITION, memoryview(data), offset) if f.pack is not None]  # type: ignore[misc]


def offsets(pack: Packed | Loose) -> list[int]:
    return [record.offset for record in pack.records()]


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_batch_is_one_pack(codec: int) -> None:
    """Its ends, its number of records and its bytes are known without an object for each."""
    values = [b"value-%d" % number for number in range(50)]

    (pack,) = packs(record_batch(7, *values, codec=codec))
    again = [pack.records(), pack.records()]

    assert type(pack) is Packed
    assert (7, 56, 50) == (pack.first, pack.last, pack.count)
    assert [values, values] == [[record.value for record in records] for records in again]
    assert sum(map(len, values)) < pack.size < sum(map(len, values)) + 50 * 20
    assert {(b"key", 1_700_000_000_123)} == {(r.key, r.timestamp) for r in pack.records()}


def test_a_batch_that_was_compacted_keeps_its_offsets() -> None:
    """The cleaner takes records out of the middle; the last offset of the batch stays."""
    data = record_batch(10, b"a", b"b", b"c", deltas=(0, 4, 9))

    (pack,) = packs(data)

    assert (10, 19, 3) == (pack.first, pack.last, pack.count)
    assert [10, 14, 19] == offsets(pack)


def test_a_seek_into_a_batch_leaves_out_what_lies_before() -> None:
    """The broker answers with whole batches."""
    data = record_batch(10, b"a", b"b", b"c") + record_batch(13, b"d")

    found = packs(data, offset=12)

    assert [[12], [13]] == [offsets(pack) for pack in found]


def test_a_batch_that_lies_before_the_seek_moves_the_position_only() -> None:
    """Compaction can leave a batch whose last records are gone; it must not be fetched for ever."""
    data = record_batch(10, b"a", b"b", deltas=(0, 1))

    (found,) = packs_of(PARTITION, memoryview(data), 12)

    assert (None, 12) == (found.pack, found.next_offset)


def test_a_marker_of_a_transaction_is_no_pack() -> None:
    """Its offset is passed all the same."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, 1, 0, 0, 1 << 10)
    builder.append(0, timestamp=1, key=b"\0\0\0\1", value=b"\0\0\0\0\0\0", headers=[])
    marker = bytearray(builder.build())
    marker[22] |= 0x20  # attributes: a control batch
    struct.pack_into(">I", marker, 17, crc32c(bytes(marker[21:])))

    (found,) = packs_of(PARTITION, memoryview(bytes(marker)), 0)

    assert (None, 1) == (found.pack, found.next_offset)


def test_a_wrong_checksum_is_an_error() -> None:
    """Never half of a batch."""
    data = bytearray(record_batch(0, b"a", b"b"))
    data[-1] ^= 1

    with pytest.raises(CorruptRecordException, match=r"usage\.events\.v1\[3\]"):
        packs(bytes(data))


def test_a_batch_that_the_broker_cut_is_fetched_again() -> None:
    """An answer may end anywhere; the rest comes with the next."""
    data = record_batch(0, b"a") + record_batch(1, b"b")

    for end in range(len(record_batch(0, b"a")), len(data)):
        assert [[0]] == [offsets(pack) for pack in packs(data[:end])]


def test_older_formats_are_not_packed() -> None:
    """They are left to aiokafka."""
    data = bytearray(record_batch(0, b"a"))
    data[16] = 1

    assert are_packed(memoryview(record_batch(0, b"a")))
    assert not are_packed(memoryview(bytes(data)))


def test_the_parts_of_a_pack_have_its_size_together() -> None:
    """What was held for it can be given back in parts."""
    (pack,) = packs(record_batch(0, *[b"x" * 100] * 10))

    head, rest = split(pack, 3)
    first, second = split_behind(rest, 5)

    assert [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]] == [offsets(p) for p in (head, first, second)]
    assert pack.size == head.size + first.size + second.size
    assert pack.count == head.count + first.count + second.count


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
