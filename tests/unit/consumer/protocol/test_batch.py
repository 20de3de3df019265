"""How runs become batches: exact ranges, no gap, no overlap."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_records import PARTITION, chunk_of, packed_chunk_of
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

    assert (first.first, first.last, first.end) == (10, 13, 14)
    assert (second.first, second.last, second.end) == (14, 15, 16)


def test_a_batch_holds_at_most_the_rows_of_the_policy() -> None:
    """A chunk longer than the limit is cut; what is over stays for the next batch."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=3, unpacked_bytes=1_000, seconds=1))
    batcher.add(chunk_of(0, 1, 2, 3, 4), now=0)

    batch = batcher.cut()

    assert [record.offset for record in batch.records()] == [0, 1, 2]
    assert (batcher.rows, batcher.unpacked_bytes) == (2, 10)


def test_a_batch_closes_at_once_when_it_is_full() -> None:
    """Rows or bytes at the limit leave nothing to wait for."""
    by_rows = Batcher(PARTITION, 0, BatchPolicy(rows=2, unpacked_bytes=1_000, seconds=9))
    by_rows.add(chunk_of(0, 1), now=5)
    by_size = Batcher(PARTITION, 0, BatchPolicy(rows=100, unpacked_bytes=10, seconds=9))
    by_size.add(chunk_of(0, size=10), now=5)

    assert by_rows.seconds_to_close(5) == 0
    assert by_size.seconds_to_close(5) == 0


def test_a_batch_closes_when_its_first_record_has_waited() -> None:
    """The age of the first chunk counts, not of the last."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=2))
    batcher.add(chunk_of(0), now=10)
    batcher.add(chunk_of(1, index=1), now=11)

    assert batcher.seconds_to_close(11.5) == 0.5
    assert batcher.seconds_to_close(99) == 0


def test_an_empty_cutter_never_closes_a_batch() -> None:
    """Without a record there is nothing to store."""
    assert Batcher(PARTITION, 0, WIDE).seconds_to_close(1e9) is None


def test_a_record_larger_than_the_limit_is_a_batch_of_its_own() -> None:
    """No record is too large to be stored."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=100, unpacked_bytes=10, seconds=1))
    batcher.add(chunk_of(0, size=50), now=0)
    batcher.add(chunk_of(1, index=1), now=0)

    assert [record.offset for record in batcher.cut().records()] == [0]


@pytest.mark.parametrize("make", [chunk_of, packed_chunk_of])
@given(
    # One whose offsets have gaps is unpacked as it comes.
    gaps=st.lists(st.integers(1, 5), min_size=1, max_size=60)
    | st.integers(1, 60).map(lambda count: [1] * count),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    rows=st.integers(1, 20),
    size=st.integers(1, 60),
)
def test_batches_cover_every_record_once_in_order(
    make: Callable[..., Chunk], gaps: list[int], lengths: list[int], rows: int, size: int
) -> None:
    """However chunks and limits fall, ranges touch, and every record is in exactly one batch."""
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
    assert (batcher.rows, batcher.unpacked_bytes, batcher.held_bytes) == (0, 0, 0)


def test_a_pending_range_ends_inside_a_compressed_pack() -> None:
    """Exactly the range is recovered, and what lies behind it is the next batch."""
    batcher = Batcher(PARTITION, 5, WIDE)
    chunk = packed_chunk_of(5, 6, 7, 8)
    batcher.add(chunk, now=0)

    pending, behind = batcher.cut_to(6), batcher.cut()

    assert [CompressedBatch] == [type(record_batch) for record_batch in chunk.record_batches]
    assert [5, 6] == [record.offset for record in pending.records()]
    assert [7, 8] == [record.offset for record in behind.records()]
    assert (5, 6, 7) == (pending.first, pending.last, behind.first)
    assert (batcher.rows, batcher.unpacked_bytes, batcher.held_bytes) == (0, 0, 0)


@pytest.mark.parametrize("suspect", [None, 3, 9, 40, 41])
def test_the_parts_of_a_batch_make_it_up(suspect: int | None) -> None:
    """No offset between two parts, none left out at the ends, none alone but the suspect."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=10, unpacked_bytes=1_000, seconds=1))
    batcher.add(chunk_of(3, 5, 9, 40), now=0)
    batch = batcher.cut()

    parts = batch.divide(suspect)

    assert [0, *(part.end for part in parts)] == [*(part.first for part in parts), batch.end]
    assert [*batch.records()] == [record for part in parts for record in part.records()]
    assert all(part.last == part.record_batches[-1].last for part in parts)
    if suspect in {3, 9, 40}:
        assert [suspect] in [[record.offset for record in part.records()] for part in parts]
