"""When a batch is closed, and when fetching stops and resumes."""

import asyncio

import pytest

from tests.support.fake_records import chunk_of
from tests.support.partition_world import PartitionWorld, cut_short_with_a_batch_in_hand, until
from usagepipe.consumer.protocol.batch import BatchPolicy

pytestmark = pytest.mark.anyio


async def test_a_batch_that_does_not_fill_closes_by_time() -> None:
    """A single event is stored soon, not when a thousand more have come."""
    world = PartitionWorld()
    worker = world.worker()
    task = asyncio.create_task(worker.run())

    worker.take(chunk_of(0))
    await until(lambda: ("acknowledged", 1) in world.events)
    task.cancel()

    assert [("announced", 1), ("stored", 1), ("acknowledged", 1)] == world.events


async def test_a_batch_in_hand_lets_the_next_one_grow() -> None:
    """Time closes a batch only when it could be inserted: a busy server gets larger ones."""
    world = PartitionWorld()
    world.answers.clear()
    worker = world.worker(policy=BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=0.001))
    worker.take(chunk_of(0, index=0))
    task = asyncio.create_task(worker.run())
    await world.begun.wait()
    for offset in (1, 2, 3):
        worker.take(chunk_of(offset, index=offset))
        await asyncio.sleep(0.01)

    world.answers.set()
    worker.drain(keep=True)
    await task

    assert [(0, 0), (1, 3)] == world.ranges


async def test_a_batch_waits_to_be_full_while_the_log_goes_on() -> None:
    """Time closes it at the log's end only: large inserts are cheaper."""
    world = PartitionWorld()
    worker = world.worker(policy=BatchPolicy(rows=4, unpacked_bytes=1_000_000, seconds=0.01))
    task = asyncio.create_task(worker.run())
    worker.take(chunk_of(0, 1, index=0, remaining=2))
    await asyncio.sleep(0.05)  # five times what closes it otherwise
    worker.take(chunk_of(2, 3, index=1))
    await until(lambda: worker.position >= 4)
    worker.drain(keep=True)
    await task

    assert [(0, 3)] == world.ranges


async def test_a_slow_server_is_given_larger_batches_and_every_batch_is_closed() -> None:
    """An insert has a price of its own: the next one waits twice as long as the last one took."""
    world = PartitionWorld()
    world.answers.clear()
    worker = world.worker(policy=BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=0.001))
    worker.take(chunk_of(0, index=0))
    task = asyncio.create_task(worker.run())
    await world.begun.wait()
    await asyncio.sleep(0.05)
    world.answers.set()
    await until(lambda: worker.position >= 1)

    worker.take(chunk_of(1, index=1))
    await asyncio.sleep(0.02)
    worker.take(chunk_of(2, index=2))
    await until(lambda: worker.position >= 3)
    task.cancel()

    assert [(0, 0), (1, 2)] == world.ranges


async def test_fetching_stops_after_a_full_batch_and_resumes_when_it_is_cut() -> None:
    """The memory of a partition worker is bounded during an outage of any length."""
    world = PartitionWorld()
    world.answers.clear()
    worker = world.worker()
    task = asyncio.create_task(worker.run())
    worker.take(chunk_of(0, 1, index=0))
    await asyncio.sleep(0)
    while_one_is_stored = world.held
    worker.take(chunk_of(2, 3, index=1))
    after_a_full_one = world.held

    world.answers.set()
    worker.drain(keep=True)
    await task

    assert not while_one_is_stored
    assert after_a_full_one
    assert not world.held


async def test_a_paused_partition_worker_does_not_wait_for_what_it_does_not_let_come() -> None:
    """A leftover of more than half a batch keeps the partition paused: it is stored soon."""
    world = PartitionWorld()
    worker = world.worker(policy=BatchPolicy(rows=10, unpacked_bytes=1_000_000, seconds=0.01))
    worker.take(chunk_of(*range(16), remaining=1_000))
    task = asyncio.create_task(worker.run())

    half_of_a_backlogs_wait = 1.0
    await until(lambda: worker.position >= 16, half_of_a_backlogs_wait)
    worker.drain(keep=True)
    await task

    assert not world.held


async def test_the_memory_budget_bounds_the_partition_workers() -> None:
    """One partition may fill the common part; when that is used up, each keeps to its share."""
    world = PartitionWorld()
    world.memory_bytes = 80_000  # a quarter of it for all, and 5,000 for each of four
    world.answers.clear()
    worker = world.worker(policy=BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=60))
    worker.take(chunk_of(*range(30), index=0))
    alone = world.held

    world.memory.add(12_000)  # other partition workers hold so much
    worker.take(chunk_of(30, index=1))
    together = world.held
    task = asyncio.create_task(worker.run())
    await world.begun.wait()
    world.answers.set()
    await until(lambda: not world.held)
    worker.drain(keep=True)
    await task

    assert (False, True) == (alone, together)
    assert [(0, 30)] == world.ranges


async def test_a_partition_worker_that_ends_gives_back_what_it_held() -> None:
    """Also when it is cut short with a batch in hand: the other partitions need the memory."""
    world = PartitionWorld()

    await cut_short_with_a_batch_in_hand(world)

    assert world.memory.take_turn(world.memory_bytes, asyncio.Event())


async def test_a_partition_worker_whose_batch_may_grow_on_lets_others_begin() -> None:
    """It asked for its turn at the log's end, and then more records came."""
    world = PartitionWorld()
    first, second = world.workers(
        2, BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=0.01), size=4_000
    )
    world.memory.begin(2_000)
    tasks = [asyncio.create_task(worker.run()) for worker in (first, second)]
    first.take(chunk_of(0, size=500))
    await until(lambda: world.memory.is_asked, seconds=1.0)
    first.take(chunk_of(1, size=10, index=1, remaining=50))
    second.take(chunk_of(*range(10), size=100, remaining=100))

    world.memory.end(2_000)
    await until(lambda: second.position >= 10, seconds=1.0)
    for worker in (first, second):
        worker.drain(keep=True)
    await asyncio.gather(*tasks)

    assert (0, 0) == (world.memory.waiting, world.memory.in_work)
