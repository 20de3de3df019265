"""Chunks become batches: exact ranges without gap or overlap."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_records import PARTITION, chunk_of, compressed_chunk_of
from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.record_batches import CompressedBatch
from usagepipe.consumer.protocol.batch import BatchPolicy
from usagepipe.consumer.protocol.batcher import Batcher

WIDE = BatchPolicy(rows=1_000, unpacked_bytes=1_000_000, seconds=0.25)


def test_a_batch_begins_where_the_last_one_ended() -> None:
    """Offsets without data (transaction markers) belong to the batch that follows them."""
    batcher = Batcher(PARTITION, 10, WIDE)
    batcher.add(chunk_of(12, 13), now=0)
    first = batcher.cut()
    batcher.add(chunk_of(15, index=1), now=0)

    second = batcher.cut()

    assert (10, 13, 14) == (first.first, first.last, first.end)
    assert (14, 15, 16) == (second.first, second.last, second.end)


def test_a_batch_holds_at_most_the_rows_of_the_policy() -> None:
    """A chunk longer than the limit is cut, and its rest goes into the next batch."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=3, unpacked_bytes=1_000, seconds=1))
    batcher.add(chunk_of(0, 1, 2, 3, 4), now=0)

    batch = batcher.cut()

    assert [0, 1, 2] == [record.offset for record in batch.records()]
    assert (2, 10) == (batcher.rows, batcher.unpacked_bytes)


def test_a_batch_closes_at_once_when_it_is_full() -> None:
    """A batch with the maximum of rows or of bytes does not wait."""
    by_rows = Batcher(PARTITION, 0, BatchPolicy(rows=2, unpacked_bytes=1_000, seconds=9))
    by_rows.add(chunk_of(0, 1), now=5)
    by_size = Batcher(PARTITION, 0, BatchPolicy(rows=100, unpacked_bytes=10, seconds=9))
    by_size.add(chunk_of(0, size=10), now=5)

    assert 0 == by_rows.seconds_to_close(5)
    assert 0 == by_size.seconds_to_close(5)


def test_a_batch_closes_when_its_first_record_has_waited() -> None:
    """The time counts from the first chunk, not from the last."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=2))
    batcher.add(chunk_of(0), now=10)
    batcher.add(chunk_of(1, index=1), now=11)

    assert 0.5 == batcher.seconds_to_close(11.5)
    assert 0 == batcher.seconds_to_close(99)


def test_an_empty_batcher_never_closes_a_batch() -> None:
    """Without a record there is no batch to close."""
    assert Batcher(PARTITION, 0, WIDE).seconds_to_close(1e9) is None


def test_a_record_larger_than_the_limit_is_a_batch_of_its_own() -> None:
    """The limit of bytes never keeps a record from being stored."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=100, unpacked_bytes=10, seconds=1))
    batcher.add(chunk_of(0, size=50), now=0)
    batcher.add(chunk_of(1, index=1), now=0)

    assert [0] == [record.offset for record in batcher.cut().records()]


@pytest.mark.parametrize("make", [chunk_of, compressed_chunk_of])
@given(
    # A record batch with gaps between its offsets is decoded at once.
    gaps=st.lists(st.integers(1, 5), min_size=1, max_size=60)
    | st.integers(1, 60).map(lambda count: [1] * count),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    rows=st.integers(1, 20),
    size=st.integers(1, 60),
)
def test_batches_cover_every_record_once_in_order(
    make: Callable[..., Chunk], gaps: list[int], lengths: list[int], rows: int, size: int
) -> None:
    """With any chunks and limits, ranges touch and every record is in exactly one batch."""
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows, size, seconds=1))
    rest, index = list(offsets), 0
    for length in lengths:
        if rest:
            batcher.add(make(*rest[:length], index=index), now=0)
            rest, index = rest[length:], index + 1
    expected = offsets[: len(offsets) - len(rest)]

    batches = []
    while batcher.seconds_to_close(9) is not None:
        batches.append(batcher.cut())

    assert expected == [record.offset for batch in batches for record in batch.records()]
    assert [0, *(batch.end for batch in batches[:-1])] == [batch.first for batch in batches]
    assert (0, 0, 0) == (batcher.rows, batcher.unpacked_bytes, batcher.held_bytes)


def test_a_pending_range_ends_inside_a_compressed_record_batch() -> None:
    """Exactly the range is recovered, and the records after it are the next batch."""
    batcher = Batcher(PARTITION, 5, WIDE)
    chunk = compressed_chunk_of(5, 6, 7, 8)
    batcher.add(chunk, now=0)

    pending, rest = batcher.cut_to(6), batcher.cut()

    assert [CompressedBatch] == [type(record_batch) for record_batch in chunk.record_batches]
    assert [5, 6] == [record.offset for record in pending.records()]
    assert [7, 8] == [record.offset for record in rest.records()]
    assert (5, 6, 7) == (pending.first, pending.last, rest.first)
    assert (0, 0, 0) == (batcher.rows, batcher.unpacked_bytes, batcher.held_bytes)
