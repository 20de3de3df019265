"""A batch can be divided into parts that cover exactly its range."""

import pytest

from tests.support.fake_records import PARTITION, chunk_of
from usagepipe.consumer.protocol.batch import BatchPolicy
from usagepipe.consumer.protocol.batcher import Batcher


@pytest.mark.parametrize("suspect", [None, 3, 9, 40, 41])
def test_the_parts_of_a_batch_make_it_up(suspect: int | None) -> None:
    """The parts have no gap between them, and the suspect is alone in its part."""
    batcher = Batcher(PARTITION, 0, BatchPolicy(rows=10, unpacked_bytes=1_000, seconds=1))
    batcher.add(chunk_of(3, 5, 9, 40), now=0)
    batch = batcher.cut()

    parts = batch.divide(suspect)

    assert [0, *(part.end for part in parts)] == [*(part.first for part in parts), batch.end]
    assert [*batch.records()] == [record for part in parts for record in part.records()]
    assert all(part.last == part.record_batches[-1].last for part in parts)
    if suspect in {3, 9, 40}:
        assert [suspect] in [[record.offset for record in part.records()] for part in parts]
