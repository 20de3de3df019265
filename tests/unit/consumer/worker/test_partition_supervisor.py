"""A parked partition holds no memory, and resumes where it stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.fake_records import PARTITION, chunk_of, parked_at
from tests.support.fake_stores import FakeParking, FakeSink
from tests.support.partition_world import EAGER, TOPIC, until
from usagepipe.consumer.log.lineage import Lineage
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.positions import ResumePoint
from usagepipe.consumer.worker import partition_supervisor
from usagepipe.consumer.worker.memory_budget import MemoryBudget
from usagepipe.consumer.worker.partition_supervisor import PartitionSupervisor
from usagepipe.consumer.worker.partition_worker import PartitionWorker

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_supervisor, "LOOK_SECONDS", 0.001)


class World(FakeSink):
    """The log, the group and the notes of one partition, in memory."""

    def __init__(self, start: ResumePoint | None = None) -> None:
        super().__init__()
        self.parking = FakeParking()
        self.memory = MemoryBudget(1_000_000, workers=1)
        self.acknowledged = 0
        self.announced: list[tuple[int, int]] = []
        self.held = False
        self.sought: list[int] = []
        self.worker = PartitionSupervisor(
            PARTITION, start or ResumePoint(0, TOPIC), self._worker, self.parking, self
        )

    def _worker(self, start: ResumePoint) -> PartitionWorker:
        return PartitionWorker(PARTITION, start, EAGER, self.memory, self, self, self)

    async def announce(self, partition: Any, pending: Announcement) -> None:
        self.announced.append((pending.first, pending.last))

    def acknowledge(self, partition: Any, end: int, topic_id: str, leader_epoch: int) -> None:
        self.acknowledged = end

    def on_buffer_full(self, tp: Any, /) -> None:
        self.held = True

    def on_buffer_drop(self, tp: Any, /) -> None:
        self.held = False

    async def read_from(self, tp: TopicPartition, read: Lineage, /) -> int:
        self.sought.append(read.offset)
        return 10

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.worker.run())
        try:
            yield
        finally:
            self.worker.drain(keep=True)
            async with asyncio.timeout(5):
                await task


async def test_what_is_before_a_parked_batch_is_stored_and_acknowledged() -> None:
    """Nothing of the batch is announced, the partition is paused, and no memory is held."""
    world = World()
    world.excess = {2}
    world.worker.take(chunk_of(0, 1, 2, 3, 4))

    async with world.running():
        await until(lambda: world.parking.parked)

        assert (2, 2) == (world.acknowledged, world.worker.position)
        assert [(0, 1)] == world.announced
        assert world.held
        assert (0, 0, 0) == (
            world.memory.waiting,
            world.memory.in_work,
            world.worker.buffered_rows,
        )
        assert world.worker.take(chunk_of(5, 6, index=1))
        assert 0 == world.worker.buffered_rows


async def test_a_released_partition_is_read_again_from_the_parked_range() -> None:
    """Runs that were fetched before it was sought are dropped: their records come again."""
    world = World()
    world.excess = {2}
    world.worker.take(chunk_of(0, 1, 2, 3, 4))

    async with world.running():
        await until(lambda: world.parking.parked)
        world.excess = set()
        world.parking.released.set()
        await until(lambda: world.sought and not world.held)
        assert world.worker.take(chunk_of(5, 6, index=1))
        assert world.worker.take(chunk_of(2, 3, 4, index=10))
        await until(lambda: world.acknowledged == 5)

    assert [2] == world.sought
    assert [(0, 1), (2, 3), (4, 4)] == world.ranges
    assert world.parking.left


async def test_a_partition_that_was_parked_before_is_not_read() -> None:
    """The next owner parks it at once; what it had fetched is given back."""
    world = World()
    world.parking.standing = parked_at(0, 3)
    world.worker.take(chunk_of(0, 1, 2, 3))

    async with world.running():
        await until(lambda: world.parking.parked)

    assert [] == world.prepared
    assert 0 == world.memory.waiting


async def test_a_pending_range_stays_pending_while_it_is_parked() -> None:
    """It was announced and may have landed: after the release exactly it is sent again."""
    pending = Announcement("topic-id", 0, 2, records=3, epoch=0)
    world = World(ResumePoint(0, TOPIC, pending))
    world.excess = {1}
    world.worker.take(chunk_of(0, 1, 2, 3))

    async with world.running():
        await until(lambda: world.parking.parked)
        world.excess = set()
        world.parking.released.set()
        await until(lambda: world.sought and not world.held)
        world.worker.take(chunk_of(0, 1, 2, 3, index=10))
        await until(lambda: world.worker.position == 4)

    assert [(0, 2, 0, True), (3, 3, 0, False)] == world.inserted


async def test_a_partition_that_is_drained_as_it_is_sought_ends() -> None:
    """A rebalance or a stop that comes in the moment of a release does not wait in vain."""
    world = World()
    world.parking.standing = parked_at(0, 3)

    async def drain_and_read_from(tp: TopicPartition, read: Lineage, /) -> int:
        world.worker.drain(keep=False)
        return 10

    world.read_from = drain_and_read_from  # type: ignore[method-assign]
    world.parking.released.set()

    async with asyncio.timeout(2):
        await world.worker.run()

    assert ([], 0) == (world.inserted, world.worker.position)
    assert world.parking.left
