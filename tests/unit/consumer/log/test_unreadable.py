"""Record batches and records that are too large or malformed are not read, and cost little."""

import os

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from tests.support.bombs import batch_of, bomb
from tests.support.fake_records import PARTITION, record_batch
from tests.support.memory import forget_peak, needs_proc, peak_bytes
from tests.support.read_batches import CODECS, batches, offsets
from usagepipe.consumer.log.record_batches import (
    CompressedBatch,
    DecodedBatch,
    record_batches_of,
    split,
    split_after,
)
from usagepipe.consumer.log.unpacking import MAX_UNPACKED_BYTES
from usagepipe.consumer.log.unreadable import UnreadableRecord

TOO_LARGE = (MAX_UNPACKED_BYTES >> 20) + 1  # MiB

NOISE = 4_096  # bytes in a MiB that cannot be compressed: it then takes a 250th at the least


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_is_too_large_is_not_read(codec: int) -> None:
    """A worker that unpacked everything would be killed, and so would the next one."""
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
    _, tail = split_after(rest, 2**31 - 4)

    assert ([5, 6, 7], [2**31 - 3, 2**31 - 2]) == (offsets(head), offsets(tail))
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


def test_a_seek_after_a_batch_that_is_not_read_moves_the_position_only() -> None:
    """Its offsets have their letters already."""
    data = bomb(DefaultRecordBatch.CODEC_ZSTD, TOO_LARGE, first=7)

    (found,) = record_batches_of(PARTITION, memoryview(data), 8)

    assert (None, 8) == (found.record_batch, found.next_offset)
