"""Record batches of Kafka's stay packed, and hold exactly what stock would have given."""

import os
import struct
from collections.abc import Iterable

import cramjam
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from tests.support.bombs import batch_of, batch_of_headers, bomb
from tests.support.fake_records import PARTITION, record_batch
from tests.support.memory import forget_peak, needs_proc, peak_bytes
from usagepipe.consumer.log.record_batches import (
    CompressedBatch,
    DecodedBatch,
    RecordBatch,
    are_format_2,
    record_batches_of,
    split,
    split_after,
)
from usagepipe.consumer.log.records import Record
from usagepipe.consumer.log.unpacking import MAX_UNPACKED_BYTES
from usagepipe.consumer.log.unreadable import UnreadableRecord

CODECS = [
    0,
    DefaultRecordBatch.CODEC_GZIP,
    DefaultRecordBatch.CODEC_SNAPPY,
    DefaultRecordBatch.CODEC_LZ4,
    DefaultRecordBatch.CODEC_ZSTD,
]


TOO_LARGE = (MAX_UNPACKED_BYTES >> 20) + 1  # MiB
NOISE = 4_096  # bytes in a MiB that cannot be compressed: it then takes a 250th at the least


def batches(data: bytes, offset: int = 0) -> list[RecordBatch]:
    steps = record_batches_of(PARTITION, memoryview(data), offset)
    return [step.record_batch for step in steps if step.record_batch is not None]


def offsets(batch: RecordBatch) -> list[int]:
    return [record.offset for record in batch.records()]


def fields(records: Iterable[Record]) -> list[tuple[int, int, bytes | None, bytes | None]]:
    return [(each.offset, each.timestamp, each.key, each.value) for each in records]


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_batch_is_one_pack(codec: int) -> None:
    """Its ends, its number of records and its bytes are known without an object for each."""
    values = [b"value-%d" % number for number in range(50)]

    (batch,) = batches(record_batch(7, *values, codec=codec))
    again = [batch.records(), batch.records()]

    assert type(batch) is CompressedBatch
    assert (7, 56, 50) == (batch.first, batch.last, batch.count)
    assert [values, values] == [[record.value for record in records] for records in again]
    assert sum(map(len, values)) < batch.unpacked_bytes < sum(map(len, values)) + 50 * 20
    assert {(b"key", 1_700_000_000_123)} == {(r.key, r.timestamp) for r in batch.records()}


def test_a_batch_that_was_compacted_keeps_its_offsets() -> None:
    """The cleaner takes records out of the middle; the last offset of the batch stays."""
    data = record_batch(10, b"a", b"b", b"c", deltas=(0, 4, 9))

    (batch,) = batches(data)

    assert (10, 19, 3) == (batch.first, batch.last, batch.count)
    assert [10, 14, 19] == offsets(batch)


def test_a_seek_into_a_batch_leaves_out_what_lies_before() -> None:
    """The broker answers with whole batches."""
    data = record_batch(10, b"a", b"b", b"c") + record_batch(13, b"d")

    found = batches(data, offset=12)

    assert [[12], [13]] == [offsets(batch) for batch in found]


def test_a_batch_that_lies_before_the_seek_moves_the_position_only() -> None:
    """Compaction can leave a batch whose last records are gone; it must not be fetched for ever."""
    data = record_batch(10, b"a", b"b", deltas=(0, 1))

    (found,) = record_batches_of(PARTITION, memoryview(data), 12)

    assert (None, 12) == (found.record_batch, found.next_offset)


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


def test_offsets_that_no_batch_explains_are_missing() -> None:
    """Before a batch, inside of one and where all of one are gone; never before the seek."""
    log = [
        record_batch(10, b"a", b"b", deltas=(0, 3)),
        record_batch(20, b"c"),
    ]

    steps = list(record_batches_of(PARTITION, memoryview(b"".join(log)), 8))

    assert [[(8, 9), (11, 12)], [(14, 19)]] == [list(step.missing) for step in steps]


def test_a_wrong_checksum_is_an_error() -> None:
    """Never half of a batch."""
    data = bytearray(record_batch(0, b"a", b"b"))
    data[-1] ^= 1

    with pytest.raises(CorruptRecordException, match=r"usage\.events\.v1\[3\]"):
        batches(bytes(data))


def test_a_batch_that_the_broker_cut_is_fetched_again() -> None:
    """An answer may end anywhere; the rest comes with the next."""
    data = record_batch(0, b"a") + record_batch(1, b"b")

    for end in range(len(record_batch(0, b"a")), len(data)):
        assert [[0]] == [offsets(batch) for batch in batches(data[:end])]


def test_older_formats_are_not_packed() -> None:
    """They are left to aiokafka."""
    data = bytearray(record_batch(0, b"a"))
    data[16] = 1

    assert are_format_2(memoryview(record_batch(0, b"a")))
    assert not are_format_2(memoryview(bytes(data)))


def test_the_parts_of_a_pack_have_its_size_together() -> None:
    """What was held for it can be given back in parts."""
    (batch,) = batches(record_batch(0, *[b"x" * 100] * 10))

    head, rest = split(batch, 3)
    first, second = split_after(rest, 5)

    assert [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]] == [offsets(p) for p in (head, first, second)]
    assert (
        batch.unpacked_bytes == head.unpacked_bytes + first.unpacked_bytes + second.unpacked_bytes
    )
    assert batch.count == head.count + first.count + second.count


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_is_too_large_is_not_read(codec: int) -> None:
    """A worker that unpacked whatever comes would be killed, and the next one after it."""
    data = bomb(codec, TOO_LARGE, first=7, timestamp=1_700_000_000_123)

    (batch,) = batches(data)

    detail = "its record batch holds more than 64 MiB or 1,000 times its size"
    assert [UnreadableRecord(7, 1_700_000_000_123, "batch_too_large", detail)] == list(
        batch.records()
    )
    assert (7, 7, 1, 0) == (
        batch.first,
        batch.last,
        batch.count,
        batch.unpacked_bytes,
    )


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_of_nearly_as_much_is_read(codec: int) -> None:
    """The bound is far above what events take."""
    (batch,) = batches(bomb(codec, 1, count=TOO_LARGE - 2, noise=NOISE, first=7, timestamp=5))

    records = batch.records()

    assert type(batch) is CompressedBatch
    assert list(range(7, 7 + TOO_LARGE - 2)) == [record.offset for record in records]
    assert {(None, 1 << 20, 5)} == {
        (record.key, len(record.value or b""), record.timestamp) for record in records
    }


def test_what_is_a_thousand_times_as_large_is_not_read() -> None:
    """A fetch holds hundreds of such batches, and to measure each to the end takes seconds."""
    few = bomb(DefaultRecordBatch.CODEC_ZSTD, 1, count=8, noise=NOISE)
    many = bomb(DefaultRecordBatch.CODEC_ZSTD, 1, count=8)

    (read,), (unread,) = batches(few), batches(many)

    assert (8 << 20) / len(many) > 1_000
    assert (CompressedBatch, DecodedBatch) == (type(read), type(unread))


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_that_is_too_large_for_an_event_is_not_read(codec: int) -> None:
    """Nobody looks whether it is one: its JSON may take fifty times its room."""
    (batch,) = batches(bomb(codec, 2, noise=NOISE, first=7, timestamp=5))

    (record,) = batch.records()

    assert (
        UnreadableRecord(7, 5, "record_too_large", "it has more than 1 MiB", value_bytes=2 << 20)
        == record
    )


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


@needs_proc
@pytest.mark.parametrize("codec", CODECS[1:])
def test_unpacking_never_takes_more_than_the_bound(codec: int) -> None:
    """However much a batch holds, no more than the bound is unpacked of it."""
    data = bomb(codec, 512)
    before = forget_peak()

    batches(data)

    assert peak_bytes() - before < 2 * MAX_UNPACKED_BYTES


def test_a_batch_of_very_many_small_records_is_too_large() -> None:
    """As objects they would take a hundred times the room."""
    data = record_batch(0, *[b""] * (MAX_UNPACKED_BYTES // 300 + 1), room=16 << 20)

    (batch,) = batches(data)

    assert {"batch_too_large"} == {record.reason for record in split(batch, 9)[0].records()}  # type: ignore[attr-defined]


@needs_proc
def test_what_a_batch_claims_to_hold_takes_no_room() -> None:
    """The number of its records is the producer's word; they are made as they are asked for."""
    body = bytes(cramjam.zstd.compress(b" " * (MAX_UNPACKED_BYTES + 1)))
    before = forget_peak()

    (batch,) = batches(batch_of(DefaultRecordBatch.CODEC_ZSTD, body, count=2**31 - 1), offset=5)
    head, rest = split(batch, 3)
    _, behind = split_after(rest, 2**31 - 4)

    assert ([5, 6, 7], [2**31 - 3, 2**31 - 2]) == (offsets(head), offsets(behind))
    assert batch.count == head.count + rest.count
    assert peak_bytes() - before < 2 * MAX_UNPACKED_BYTES


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_cannot_be_unpacked_is_not_read(codec: int) -> None:
    """The broker's decoders are more lenient; one that is cut short would stop its partition."""
    body = record_batch(0, os.urandom(10_000), codec=codec)[61:]

    (batch,) = batches(batch_of(codec, body[: len(body) // 2], count=2, first=7))

    assert [(7, "batch_undecodable"), (8, "batch_undecodable")] == [
        (record.offset, record.reason)  # type: ignore[attr-defined]
        for record in batch.records()
    ]


def test_an_unknown_compression_is_not_read() -> None:
    """One of the two numbers that Kafka has not given away yet may come some day."""
    (batch,) = batches(batch_of(5, b"anything"))

    (record,) = batch.records()

    assert "its record batch: codec 5" == record.detail  # type: ignore[attr-defined]


def test_a_seek_behind_a_batch_that_is_not_read_moves_the_position_only() -> None:
    """Its offsets have their letters already."""
    data = bomb(DefaultRecordBatch.CODEC_ZSTD, TOO_LARGE, first=7)

    (found,) = record_batches_of(PARTITION, memoryview(data), 8)

    assert (None, 8) == (found.record_batch, found.next_offset)


def test_raw_snappy_is_read_as_well() -> None:
    """Some clients write one block without the framing of Java's."""
    body = record_batch(0, b"a", b"b", codec=0)[61:]
    packed = bytes(cramjam.snappy.compress_raw(body))

    (batch,) = batches(batch_of(DefaultRecordBatch.CODEC_SNAPPY, packed, count=2))

    assert [b"a", b"b"] == [record.value for record in batch.records()]


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _with_headers(name: str, count: int = 3) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for number in range(count):
        builder.append(number, 1_700_000_000_123, b"key", b"value", [(name, b"x")])
    return bytes(builder.build())


def _with_its_checksum(data: bytes) -> memoryview:
    """After something was changed behind it."""
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


def test_records_that_are_none_are_told_by_offset() -> None:
    """A batch whose records break off becomes letters; raised, it would stop the partition."""
    data = bytearray(_with_headers("abcd"))
    data[61] = 0x7F  # the length of the first record: into the next one's middle
    data[67:75] = b"\xff" * 8

    (step,) = record_batches_of(PARTITION, _with_its_checksum(bytes(data)), 0)
    assert step.record_batch is not None
    records = step.record_batch.records()

    assert [0, 1, 2] == [record.offset for record in records]
    assert {"batch_undecodable"} == {getattr(record, "reason", "") for record in records}
