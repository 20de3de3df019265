"""A refused batch is divided, and a range that lacks rows is written under a new epoch."""

import math

import pytest

from tests.support.fake_records import chunk_of
from tests.support.partition_world import PartitionWorld
from usagepipe.consumer.protocol.batch import BatchPolicy

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("rows", [2, 3, 7, 64, 1_000])
async def test_one_poison_record_costs_few_inserts_and_no_neighbour(rows: int) -> None:
    """Each refused range is cut in half, and each half announced as a range of its own."""
    world = PartitionWorld()
    world.poison = {rows // 3}
    worker = world.worker(policy=BatchPolicy(rows=rows, unpacked_bytes=10**6, seconds=60))
    worker.take(chunk_of(*range(rows)))

    worker.drain(keep=True)
    await worker.run()

    assert [rows // 3] == world.letters
    assert list(range(rows)) == [n for first, last in world.ranges for n in range(first, last + 1)]
    announced = [end for what, end in world.events if what == "announced"]
    assert len(announced) <= 2 * math.ceil(math.log2(rows)) + 1
    assert rows == worker.position


async def test_a_poison_record_that_is_named_costs_three_more_inserts() -> None:
    """The records before it, the record itself, and the records after it, for each record."""
    world = PartitionWorld()
    world.poison, world.names_poison = {0, 33, 99}, True
    worker = world.worker(policy=BatchPolicy(rows=100, unpacked_bytes=10**6, seconds=60))
    worker.take(chunk_of(*range(100)))

    worker.drain(keep=True)
    await worker.run()

    assert [(0, 0), (1, 32), (33, 33), (34, 98), (99, 99)] == world.ranges
    assert [0, 33, 99] == world.letters


async def test_many_refused_records_are_divided_without_end_of_the_stack() -> None:
    """One after the other, not one inside the other."""
    world = PartitionWorld()
    world.poison, world.names_poison = set(range(2_000)), True
    worker = world.worker(policy=BatchPolicy(rows=3_000, unpacked_bytes=10**6, seconds=60))
    worker.take(chunk_of(*range(2_001)))

    worker.drain(keep=True)
    await worker.run()

    assert list(range(2_000)) == world.letters
    assert 2_001 == worker.position


async def test_a_range_that_lost_rows_is_written_under_a_new_epoch() -> None:
    """The tables remember the old token: under it nothing would be written any more."""
    world = PartitionWorld()
    world.lossy = 2
    worker = world.worker()
    worker.take(chunk_of(0, 1))

    worker.drain(keep=True)
    await worker.run()

    assert [(0, 1, 0, False), (0, 1, 1, True), (0, 1, 2, True)] == world.inserted
    assert 2 == worker.position
