"""Record batches of Kafka's stay packed, and hold exactly what stock would have given."""

import cramjam
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from tests.support.bombs import batch_of
from tests.support.fake_records import PARTITION, record_batch
from tests.support.read_batches import CODECS, batches, offsets
from usagepipe.consumer.log.record_batches import (
    CompressedBatch,
    are_format_2,
    record_batches_of,
    split,
    split_after,
)


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


def test_raw_snappy_is_read_as_well() -> None:
    """Some clients write one block without the framing of Java's."""
    body = record_batch(0, b"a", b"b", codec=0)[61:]
    packed = bytes(cramjam.snappy.compress_raw(body))

    (batch,) = batches(batch_of(DefaultRecordBatch.CODEC_SNAPPY, packed, count=2))

    assert [b"a", b"b"] == [record.value for record in batch.records()]
