"""Partition workers with a log, a group and a store in memory."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from tests.support.fake_records import PARTITION, chunk_of
from tests.support.fake_stores import FakeSink
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import BatchPolicy
from usagepipe.consumer.protocol.block import Block, InsertResult, Outcome
from usagepipe.consumer.protocol.positions import FencedError, ResumePoint
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.worker.memory_budget import MemoryBudget
from usagepipe.consumer.worker.partition_worker import PartitionWorker

EAGER: Final = BatchPolicy(rows=2, unpacked_bytes=1_000, seconds=0.01)
TOPIC: Final = TopicIdentity("cluster", "topic-id")


async def until(holds: Callable[[], object], seconds: float = 5.0) -> None:
    """Return when `holds()` is true; raise TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.001)


class WatchedBudget(MemoryBudget):
    """A budget that knows whether a partition worker had to wait for its turn."""

    is_asked = False

    def take_turn(self, size: int, turn: asyncio.Event) -> bool:
        takes = super().take_turn(size, turn)
        self.is_asked |= not takes
        return takes


class PartitionWorld(FakeSink):
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
        self.memory = WatchedBudget(size, workers=count)
        start = ResumePoint(0, TOPIC)
        return [
            PartitionWorker(PARTITION, start, policy, self.memory, self, self, self)
            for _ in range(count)
        ]

    def worker(
        self, start: ResumePoint | None = None, policy: BatchPolicy = EAGER
    ) -> PartitionWorker:
        self.memory = WatchedBudget(self.memory_bytes, workers=4)
        return PartitionWorker(
            PARTITION, start or ResumePoint(0, TOPIC), policy, self.memory, self, self, self
        )


async def run_until_the_second_is_prepared(
    world: PartitionWorld, worker: PartitionWorker
) -> asyncio.Task[None]:
    """The partition worker at work: its first batch is in hand, and waits for an answer."""
    task = asyncio.create_task(worker.run())
    await until(lambda: len(world.prepared) >= 2)
    return task


async def cut_short_with_a_batch_in_hand(world: PartitionWorld) -> None:
    """Cancel a partition worker while its insert waits for an answer."""
    world.answers.clear()
    worker = world.worker()
    worker.take(chunk_of(0, 1))
    task = asyncio.create_task(worker.run())
    await world.begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
