"""A partition worker announces, stores and acknowledges its batches in order."""

import asyncio

import pytest

from tests.support.fake_records import chunk_of
from tests.support.partition_world import (
    PartitionWorld,
    cut_short_with_a_batch_in_hand,
    run_until_the_second_is_prepared,
    until,
)
from usagepipe.consumer.protocol.batch import BatchPolicy
from usagepipe.consumer.worker.partition_worker import IDLE_SECONDS

pytestmark = pytest.mark.anyio


async def test_a_batch_is_announced_then_stored_then_acknowledged() -> None:
    """The next announcement acknowledges the batch before; the last is acknowledged alone."""
    world = PartitionWorld()
    worker = world.worker()
    worker.take(chunk_of(0, 1, 2))

    worker.drain(keep=True)
    await worker.run()

    expected = [("announced", 2), ("stored", 2), ("announced", 3), ("stored", 3)]
    assert [*expected, ("acknowledged", 3)] == world.events
    assert 3 == worker.position


async def test_a_fenced_partition_worker_stores_nothing() -> None:
    """A zombie that wakes up with a batch in hand may not announce it, so it may not insert it."""
    world = PartitionWorld()
    world.fenced = True
    worker = world.worker()
    worker.take(chunk_of(0, 1))

    worker.drain(keep=True)
    await worker.run()

    assert [] == world.events


async def test_a_failed_store_acknowledges_nothing() -> None:
    """Whatever ends the store ends the partition worker before the offset moves."""
    world = PartitionWorld()
    worker = world.worker()
    world.defect = RuntimeError("refused")
    worker.take(chunk_of(0, 1))

    with pytest.raises(RuntimeError, match="refused"):
        await worker.run()

    assert [("announced", 2)] == world.events
    assert 0 == worker.position


async def test_a_missing_chunk_is_noticed() -> None:
    """A chunk lost between fetcher and partition worker is read again, not skipped."""
    worker = PartitionWorld().worker()

    assert worker.take(chunk_of(0, 1, index=0))
    assert not worker.take(chunk_of(4, 5, index=2))
    assert 2 == worker.buffered_rows


async def test_a_rebalance_leaves_what_was_only_fetched() -> None:
    """Draining without `keep` finishes the batch in hand; the rest is the next owner's."""
    world = PartitionWorld()
    world.answers.clear()
    worker = world.worker()
    task = asyncio.create_task(worker.run())
    worker.take(chunk_of(0, 1, index=0))
    await asyncio.sleep(0)
    worker.take(chunk_of(2, 3, index=1))

    worker.drain(keep=False)
    world.answers.set()
    await task

    assert [("announced", 2), ("stored", 2), ("acknowledged", 2)] == world.events


async def test_the_next_batch_is_prepared_while_one_is_inserted() -> None:
    """Decoding and looking up take as long as an insert, so both happen at once."""
    world = PartitionWorld()
    world.answers.clear()
    worker = world.worker()
    worker.take(chunk_of(0, 1, 2, 3, 4))
    task = await run_until_the_second_is_prepared(world, worker)
    announced = list(world.events)

    world.answers.set()
    worker.drain(keep=True)
    await task

    assert [("announced", 2)] == announced
    assert [(0, 1, None), (2, 3, 0), (4, 4, None)] == world.prepared


async def test_a_batch_is_prepared_again_when_the_one_ahead_lands_otherwise() -> None:
    """What it leaves out for the sake of the one ahead must have been stored by it."""
    world = PartitionWorld()
    world.poison = {1}
    world.answers.clear()
    worker = world.worker()
    worker.take(chunk_of(0, 1, 2, 3))
    task = await run_until_the_second_is_prepared(world, worker)

    world.answers.set()
    worker.drain(keep=True)
    await task

    parts = [(0, 0, None), (1, 1, None)]
    assert [(0, 1, None), (2, 3, 0), *parts, (2, 3, None)] == world.prepared
    assert [(0, 0), (1, 1), (2, 3)] == world.ranges


async def test_what_was_prepared_ahead_of_a_letter_is_prepared_again() -> None:
    """The next batch may hold a copy of the refused event, left out because it lay ahead: it is
    the one to store now.
    """
    world = PartitionWorld()
    world.poison = {0}
    world.answers.clear()
    worker = world.worker(policy=BatchPolicy(rows=1, unpacked_bytes=1_000, seconds=0.01))
    worker.take(chunk_of(0, 1))
    task = await run_until_the_second_is_prepared(world, worker)

    world.answers.set()
    worker.drain(keep=True)
    await task

    assert [0] == world.letters
    assert [(0, 0, None), (1, 1, 0), (1, 1, None)] == world.prepared


async def test_a_partition_worker_that_is_cancelled_ends_the_insert_in_hand() -> None:
    """A task that remained would still try to store what by then is another worker's."""
    world = PartitionWorld()

    await cut_short_with_a_batch_in_hand(world)
    world.answers.set()
    await asyncio.sleep(0.01)

    assert [] == world.ranges


async def test_nothing_is_acknowledged_between_an_announcement_and_its_landing() -> None:
    """It would wipe what is pending; also while a refused batch is stored in parts, slowly."""
    world = PartitionWorld()
    world.poison = {1}
    world.slow_announcements = 2.5 * IDLE_SECONDS
    worker = world.worker()
    worker.take(chunk_of(0, 1))
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.position >= 2)
    events = list(world.events)
    task.cancel()

    parts = [("announced", 1), ("stored", 1), ("announced", 2), ("stored", 2)]
    assert [("announced", 2), *parts] == events
