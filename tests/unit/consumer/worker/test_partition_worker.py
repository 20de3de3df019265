"""A partition worker stores in order, acknowledges after storing, and stops fetching when full."""

import asyncio
import math
from typing import Any

import pytest

from tests.support.fake_records import PARTITION, chunk_of
from tests.support.fake_stores import FakeSink
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import BatchPolicy
from usagepipe.consumer.protocol.block import Block, InsertResult, Outcome
from usagepipe.consumer.protocol.positions import FencedError, ResumePoint
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.worker.memory_budget import MemoryBudget
from usagepipe.consumer.worker.partition_worker import IDLE_SECONDS, PartitionWorker

pytestmark = pytest.mark.anyio
EAGER = BatchPolicy(rows=2, unpacked_bytes=1_000, seconds=0.01)


TOPIC = TopicIdentity("cluster", "topic-id")


class World(FakeSink):
    """Where a partition worker announces, stores and acknowledges, and who fetches for it."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, int]] = []
        self.held = False
        self.fenced = False
        self.slow_announcements = 0.0
        self.memory_bytes = 1_000_000

    async def announce(self, partition: Any, pending: Announcement) -> None:
        if self.fenced:
            raise FencedError("moved on")
        await asyncio.sleep(self.slow_announcements)
        self.events.append(("announced", pending.last + 1))

    async def insert(self, block: Block, *, is_retry: bool) -> InsertResult:
        result = await super().insert(block, is_retry=is_retry)
        if result.outcome in (Outcome.STORED, Outcome.LETTER):
            self.events.append(("stored again" if is_retry else "stored", block.batch.end))
        return result

    def acknowledge(self, partition: Any, end: int, topic_id: str, leader_epoch: int) -> None:
        assert topic_id == TOPIC.topic_id
        self.events.append(("acknowledged", end))

    def on_buffer_full(self, tp: Any, /) -> None:
        self.held = True

    def on_buffer_drop(self, tp: Any, /) -> None:
        self.held = False

    def workers(self, count: int, policy: BatchPolicy, size: int) -> list[PartitionWorker]:
        """Partition workers that share a budget of `size` bytes."""
        self.memory = MemoryBudget(size, workers=count)
        start = ResumePoint(0, TOPIC)
        return [
            PartitionWorker(PARTITION, start, policy, self.memory, self, self, self)
            for _ in range(count)
        ]

    def worker(
        self, start: ResumePoint | None = None, policy: BatchPolicy = EAGER
    ) -> PartitionWorker:
        self.memory = MemoryBudget(self.memory_bytes, workers=4)
        return PartitionWorker(
            PARTITION, start or ResumePoint(0, TOPIC), policy, self.memory, self, self, self
        )


async def test_a_batch_is_announced_then_stored_then_acknowledged() -> None:
    """The next announcement acknowledges the batch before; the last is acknowledged alone."""
    world = World()
    worker = world.worker()
    worker.take(chunk_of(0, 1, 2))

    worker.drain(keep=True)
    await worker.run()

    expected = [("announced", 2), ("stored", 2), ("announced", 3), ("stored", 3)]
    assert [*expected, ("acknowledged", 3)] == world.events
    assert 3 == worker.position


async def test_a_fenced_partition_worker_stores_nothing() -> None:
    """A zombie that wakes up with a batch in hand may not announce it, so it may not insert it."""
    world = World()
    world.fenced = True
    worker = world.worker()
    worker.take(chunk_of(0, 1))

    worker.drain(keep=True)
    await worker.run()

    assert [] == world.events


async def test_a_pending_range_is_sent_again_exactly_and_without_an_announcement() -> None:
    """Recovery ignores all limits: the range is the one that was announced, token and all."""
    world = World()
    worker = world.worker(ResumePoint(3, TOPIC, Announcement("topic-id", 3, 9, records=6, epoch=0)))
    worker.take(chunk_of(3, 4, 5, index=0))
    worker.take(chunk_of(7, 8, 9, 10, index=1))

    worker.drain(keep=True)
    worker._draining = False  # the range first, then the stop
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(5):
        while worker.position < 10:
            await asyncio.sleep(0.001)
    worker.drain(keep=True)
    await task

    assert [("stored again", 10), ("announced", 11), ("stored", 11)] == world.events[:3]


async def test_a_pending_range_waits_until_its_end_was_seen() -> None:
    """Half a range is not the range; only an offset at or behind its end proves it whole."""
    world = World()
    worker = world.worker(ResumePoint(3, TOPIC, Announcement("topic-id", 3, 9, records=6, epoch=0)))
    worker.take(chunk_of(3, 4, 5))
    task = asyncio.create_task(worker.run())
    await asyncio.sleep(0.05)

    worker.drain(keep=True)
    await task

    assert [] == world.events


async def test_a_pending_range_whose_last_records_are_gone_ends_with_the_next_one() -> None:
    """An offset behind the end closes the range as well: transaction markers leave gaps."""
    world = World()
    worker = world.worker(ResumePoint(3, TOPIC, Announcement("topic-id", 3, 9, records=2, epoch=0)))
    worker.take(chunk_of(3, 4, 12))
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(5):
        while worker.position < 13:
            await asyncio.sleep(0.001)

    worker.drain(keep=True)
    await task

    assert [("stored again", 10), ("announced", 13), ("stored", 13)] == world.events[:3]


async def test_a_failed_store_acknowledges_nothing() -> None:
    """Whatever ends the store ends the partition worker before the offset moves."""
    world = World()
    worker = world.worker()
    world.defect = RuntimeError("refused")
    worker.take(chunk_of(0, 1))

    with pytest.raises(RuntimeError, match="refused"):
        await worker.run()

    assert [("announced", 2)] == world.events
    assert 0 == worker.position


async def test_a_missing_run_is_noticed() -> None:
    """A chunk lost between fetcher and partition worker is read again, not skipped."""
    worker = World().worker()

    assert worker.take(chunk_of(0, 1, index=0))
    assert not worker.take(chunk_of(4, 5, index=2))
    assert 2 == worker.buffered_rows


async def test_fetching_stops_behind_a_full_batch_and_goes_on_when_it_is_cut() -> None:
    """The memory of a partition worker is bounded, however long the server is away."""
    world = World()
    world.answers.clear()
    worker = world.worker()
    task = asyncio.create_task(worker.run())
    worker.take(chunk_of(0, 1, index=0))
    await asyncio.sleep(0)
    while_one_is_stored = world.held
    worker.take(chunk_of(2, 3, index=1))
    behind_a_full_one = world.held

    world.answers.set()
    worker.drain(keep=True)
    await task

    assert not while_one_is_stored
    assert behind_a_full_one
    assert not world.held


async def test_a_batch_that_does_not_fill_closes_by_time() -> None:
    """A single event is stored soon, not when a thousand more have come."""
    world = World()
    worker = world.worker()
    task = asyncio.create_task(worker.run())

    worker.take(chunk_of(0))
    async with asyncio.timeout(5):
        while ("acknowledged", 1) not in world.events:
            await asyncio.sleep(0.001)
    task.cancel()

    assert [("announced", 1), ("stored", 1), ("acknowledged", 1)] == world.events


async def test_a_rebalance_leaves_what_was_only_fetched() -> None:
    """Draining without `keep` finishes the batch in hand; the rest is the next owner's."""
    world = World()
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


@pytest.mark.parametrize("rows", [2, 3, 7, 64, 1_000])
async def test_one_poison_record_costs_few_inserts_and_no_neighbour(rows: int) -> None:
    """Each refused range is cut in half, and each half announced as a range of its own."""
    world = World()
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
    """What stands before it, the record itself, and what stands behind it; so for each of them."""
    world = World()
    world.poison, world.names_poison = {0, 33, 99}, True
    worker = world.worker(policy=BatchPolicy(rows=100, unpacked_bytes=10**6, seconds=60))
    worker.take(chunk_of(*range(100)))

    worker.drain(keep=True)
    await worker.run()

    assert [(0, 0), (1, 32), (33, 33), (34, 98), (99, 99)] == world.ranges
    assert [0, 33, 99] == world.letters


async def test_a_range_that_lost_rows_is_written_under_a_new_epoch() -> None:
    """The tables remember the old token: under it nothing would be written any more."""
    world = World()
    world.lossy = 2
    worker = world.worker()
    worker.take(chunk_of(0, 1))

    worker.drain(keep=True)
    await worker.run()

    assert [(0, 1, 0, False), (0, 1, 1, True), (0, 1, 2, True)] == world.inserted
    assert 2 == worker.position


async def test_rows_that_nobody_announced_are_not_stored_again() -> None:
    """Where the table holds rows behind the commit, only what is missing of a batch is written."""
    world = World()
    world.stored_to = 2
    worker = world.worker()
    worker.take(chunk_of(0, 1, 2, 3, 4, 5))

    worker.drain(keep=True)
    await worker.run()

    assert [(0, 1, 1, True), (2, 3, 1, True), (4, 5, 0, False)] == world.inserted


async def run_until_the_second_is_prepared(
    world: World, worker: PartitionWorker
) -> "asyncio.Task[None]":
    """The partition worker at work: its first batch is in hand, and waits for an answer."""
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(5):
        while len(world.prepared) < 2:
            await asyncio.sleep(0.001)
    return task


async def test_the_next_batch_is_prepared_while_one_is_inserted() -> None:
    """Decoding and looking up take as long as an insert, so both happen at once."""
    world = World()
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
    world = World()
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


async def cut_short_with_a_batch_in_hand(world: World) -> None:
    """Cancel a partition worker while its insert waits for an answer."""
    world.answers.clear()
    worker = world.worker()
    worker.take(chunk_of(0, 1))
    task = asyncio.create_task(worker.run())
    await world.begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_partition_worker_that_is_cancelled_ends_the_insert_in_hand() -> None:
    """A task left behind would go on trying to store what by then is another's."""
    world = World()

    await cut_short_with_a_batch_in_hand(world)
    world.answers.set()
    await asyncio.sleep(0.01)

    assert [] == world.ranges


async def test_a_batch_in_hand_lets_the_next_one_grow() -> None:
    """Time closes a batch only when it could be inserted: a busy server gets larger ones."""
    world = World()
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
    world = World()
    worker = world.worker(policy=BatchPolicy(rows=4, unpacked_bytes=1_000_000, seconds=0.01))
    task = asyncio.create_task(worker.run())
    worker.take(chunk_of(0, 1, index=0, remaining=2))
    await asyncio.sleep(0.05)  # five times what closes it otherwise
    worker.take(chunk_of(2, 3, index=1))
    async with asyncio.timeout(5):
        while worker.position < 4:
            await asyncio.sleep(0.001)
    worker.drain(keep=True)
    await task

    assert [(0, 3)] == world.ranges


async def test_a_partition_worker_that_ends_gives_back_what_it_held() -> None:
    """Cut short with a batch in hand: the others of its worker may go on."""
    world = World()

    await cut_short_with_a_batch_in_hand(world)

    assert world.memory.take_turn(world.memory_bytes, asyncio.Event())


async def test_the_memory_budget_bounds_the_partition_workers() -> None:
    """One partition may fill the common part; when that is used up, each keeps to its share."""
    world = World()
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
    async with asyncio.timeout(5):
        while world.held:
            await asyncio.sleep(0.001)
    worker.drain(keep=True)
    await task

    assert (False, True) == (alone, together)
    assert [(0, 30)] == world.ranges


async def test_a_slow_server_is_given_larger_batches_and_every_batch_is_closed() -> None:
    """An insert has a price of its own: the next one waits twice as long as the last one took."""
    world = World()
    world.answers.clear()
    worker = world.worker(policy=BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=0.001))
    worker.take(chunk_of(0, index=0))
    task = asyncio.create_task(worker.run())
    await world.begun.wait()
    await asyncio.sleep(0.05)
    world.answers.set()
    async with asyncio.timeout(5):
        while worker.position < 1:
            await asyncio.sleep(0.001)

    worker.take(chunk_of(1, index=1))
    await asyncio.sleep(0.02)
    worker.take(chunk_of(2, index=2))
    async with asyncio.timeout(5):
        while worker.position < 3:
            await asyncio.sleep(0.001)
    task.cancel()

    assert [(0, 0), (1, 2)] == world.ranges


async def test_nothing_is_acknowledged_between_an_announcement_and_its_landing() -> None:
    """It would wipe what is pending; also while a refused batch is stored in parts, slowly."""
    world = World()
    world.poison = {1}
    world.slow_announcements = 2.5 * IDLE_SECONDS
    worker = world.worker()
    worker.take(chunk_of(0, 1))
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while worker.position < 2:
            await asyncio.sleep(0.01)
    events = list(world.events)
    task.cancel()

    parts = [("announced", 1), ("stored", 1), ("announced", 2), ("stored", 2)]
    assert [("announced", 2), *parts] == events


async def test_many_refused_records_are_divided_without_end_of_the_stack() -> None:
    """One after the other, not one inside the other."""
    world = World()
    world.poison, world.names_poison = set(range(2_000)), True
    worker = world.worker(policy=BatchPolicy(rows=3_000, unpacked_bytes=10**6, seconds=60))
    worker.take(chunk_of(*range(2_001)))

    worker.drain(keep=True)
    await worker.run()

    assert list(range(2_000)) == world.letters
    assert 2_001 == worker.position


async def test_a_range_that_was_read_whole_presses_back_until_it_is_stored() -> None:
    """A server that is away at the start must not fill the memory."""
    world = World()
    world.answers.clear()
    pending = Announcement("topic-id", 0, 1, records=2, epoch=0)
    worker = world.worker(ResumePoint(0, TOPIC, pending))
    task = asyncio.create_task(worker.run())
    await asyncio.sleep(0)
    worker.take(chunk_of(0, 1, index=0))
    await world.begun.wait()
    worker.take(chunk_of(2, 3, index=1))
    held = world.held

    world.answers.set()
    worker.drain(keep=True)
    await task

    assert held
    assert not world.held


async def test_a_paused_partition_worker_does_not_wait_for_what_it_does_not_let_come() -> None:
    """A leftover of more than half a batch keeps the partition paused: it is stored soon."""
    world = World()
    worker = world.worker(policy=BatchPolicy(rows=10, unpacked_bytes=1_000_000, seconds=0.01))
    worker.take(chunk_of(*range(16), remaining=1_000))
    task = asyncio.create_task(worker.run())

    async with asyncio.timeout(1.0):  # half of what a batch may wait to be full
        while worker.position < 16:
            await asyncio.sleep(0.001)
    worker.drain(keep=True)
    await task

    assert not world.held


async def test_a_partition_worker_whose_batch_may_grow_on_lets_others_begin() -> None:
    """It had asked for its turn at the log's end; then the log went on."""
    world = World()
    first, second = world.workers(
        2, BatchPolicy(rows=100, unpacked_bytes=1_000, seconds=0.01), size=4_000
    )
    world.memory.begin(2_000)
    tasks = [asyncio.create_task(worker.run()) for worker in (first, second)]
    first.take(chunk_of(0, size=500))
    async with asyncio.timeout(1.0):
        while not world.memory.is_asked:
            await asyncio.sleep(0.001)
    first.take(chunk_of(1, size=10, index=1, remaining=50))
    second.take(chunk_of(*range(10), size=100, remaining=100))

    world.memory.end(2_000)
    async with asyncio.timeout(1.0):
        while second.position < 10:
            await asyncio.sleep(0.001)
    for worker in (first, second):
        worker.drain(keep=True)
    await asyncio.gather(*tasks)

    assert (0, 0) == (world.memory.waiting, world.memory.in_work)


async def test_what_was_prepared_ahead_of_a_letter_is_prepared_again() -> None:
    """The next batch may hold a copy of the refused event, left out because it lay ahead: it is
    the one to store now.
    """
    world = World()
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


async def test_a_pending_range_that_holds_more_than_was_announced_is_nobodys() -> None:
    """Metadata may be anybody's: without its limits a range up to the log's end would have the
    whole backlog held in memory.
    """
    world = World()
    world.stored_to = 1  # rows that nobody announced are found in the table
    worker = world.worker(
        ResumePoint(0, TOPIC, Announcement("topic-id", 0, 1_000_000, records=3, epoch=0))
    )
    worker.take(chunk_of(0, 1, 2, 3))
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(5):
        while worker.position < 4:
            await asyncio.sleep(0.001)
    worker.drain(keep=True)
    await task

    assert [(0, 1, 1, True), (2, 3, 0, False)] == world.inserted
