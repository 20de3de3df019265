"""Assignments begin and end as the group says, and survive what Kafka and Faust do meanwhile."""

import asyncio
from collections.abc import Mapping, Set
from typing import Any

import pytest

from tests.support.fake_records import PARTITION, chunk_of
from tests.support.fake_stores import FakeParking, FakeSink
from usagepipe.consumer.log.lineage import Lineage
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import (
    FencedError,
    Membership,
    PartitionOffsets,
    Position,
)
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.worker.rebalance_handler import RebalanceHandler
from usagepipe.schemas.settings import WorkerSettings

pytestmark = pytest.mark.anyio


class FakeLog:
    """The log and the group of one partition, in memory."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.generation = 1
        self.committed = 0
        self.metadata = ""
        self.sought: list[tuple[int, int]] = []

    async def membership(self) -> Membership:
        if self.failures:
            raise self.failures.pop(0)
        return Membership(self.generation, "me")

    async def positions(
        self, partitions: Set[TopicPartition]
    ) -> dict[TopicPartition, PartitionOffsets]:
        found = PartitionOffsets(Position(self.committed, self.metadata), start=0, end=1_000)
        return dict.fromkeys(partitions, found)

    async def topic_identity(self, topic: str) -> TopicIdentity:
        return TopicIdentity("cluster", "topic-id")

    async def seek_as(
        self, assignment_id: int, positions: Mapping[TopicPartition, Lineage]
    ) -> None:
        self.sought.append((assignment_id, positions[PARTITION].offset))

    async def commit_as(
        self, membership: Membership, positions: Mapping[TopicPartition, Position]
    ) -> None:
        if membership.generation != self.generation:
            raise FencedError("moved on")
        self.committed, self.metadata = positions[PARTITION]


class Flow:
    """Nobody presses back in these stories."""

    def on_buffer_full(self, tp: Any, /) -> None: ...
    def on_buffer_drop(self, tp: Any, /) -> None: ...
    async def read_from(self, tp: TopicPartition, read: Lineage, /) -> int:
        return 0


class World:
    def __init__(self, *failures: Exception) -> None:
        self.log = FakeLog(*failures)
        self.sink = FakeSink()
        self.health = Health()
        settings = WorkerSettings(batch_rows=10, batch_seconds=60, drain_seconds=5)
        self.rebalance_handler = RebalanceHandler(
            self.sink, FakeParking(), settings, WorkerMetrics(), self.health
        )

    async def take_over(self) -> None:
        self.rebalance_handler.assign({PARTITION})
        async with asyncio.timeout(5):
            await self.rebalance_handler.take_over(self.log, Flow())


async def test_a_stop_stores_and_commits_what_was_fetched() -> None:
    """Closing is a drain: nothing fetched is left for the next start."""
    world = World()
    await world.take_over()
    world.rebalance_handler.feed(chunk_of(0, 1, 2))

    await world.rebalance_handler.close()

    assert [(0, 2)] == world.sink.ranges
    assert 3 == world.log.committed


async def test_a_run_fetched_before_the_seek_is_thrown_away() -> None:
    """A chunk of an older assignment may stand anywhere in the log; the new one reads it again."""
    world = World()
    await world.take_over()
    await world.rebalance_handler.release()
    await world.take_over()

    fed = world.rebalance_handler.feed(chunk_of(7, 8, assignment_id=1))
    await world.rebalance_handler.close()

    assert fed
    assert [(1, 0), (2, 0)] == world.log.sought
    assert [] == world.sink.ranges


async def test_a_takeover_goes_on_until_kafka_answers() -> None:
    """An unreachable broker in the middle of a takeover delays it, and health reports it."""
    world = World(ConnectionError("away"), ConnectionError("away"))

    await world.take_over()

    assert [(1, 0)] == world.log.sought
    assert "running" == world.health.state
    await world.rebalance_handler.close()


async def test_a_rebalance_in_a_takeover_ends_it_without_an_exception() -> None:
    """An exception would end Faust's recovery: the process would be up and idle."""
    world = World(*[ConnectionError("away")] * 1_000)
    world.rebalance_handler.assign({PARTITION})
    waiting = asyncio.create_task(world.rebalance_handler.take_over(world.log, Flow()))
    await asyncio.sleep(0.01)

    await world.rebalance_handler.release()
    async with asyncio.timeout(5):
        await waiting

    assert [] == world.log.sought


async def test_a_rebalance_leaves_no_partition_worker() -> None:
    """Also where it cancels a takeover that waits for a running insert, which would count twice."""
    world = World()
    world.sink.answers.clear()
    await world.take_over()
    for offset in range(10):
        world.rebalance_handler.feed(chunk_of(offset, index=offset))
    await world.sink.begun.wait()
    again = asyncio.create_task(world.rebalance_handler.take_over(world.log, Flow()))
    await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        await world.rebalance_handler.release()
        await again
    world.sink.answers.set()
    await asyncio.sleep(0.01)

    assert [] == world.sink.ranges


async def test_a_caller_that_gives_up_does_not_end_the_takeover() -> None:
    """Faust waits for a limited time; the takeover continues, and seeks in the end."""
    world = World(ConnectionError("away"))
    world.rebalance_handler.assign({PARTITION})
    caller = asyncio.create_task(world.rebalance_handler.take_over(world.log, Flow()))
    await asyncio.sleep(0.01)

    caller.cancel()
    async with asyncio.timeout(5):
        while not world.log.sought:
            await asyncio.sleep(0.001)

    assert [(1, 0)] == world.log.sought
    await world.rebalance_handler.close()


async def test_an_old_assignment_commits_nothing_after_the_group_moved_on() -> None:
    """The generation that an assignment began under is the only one it may commit under."""
    world = World()
    await world.take_over()
    world.rebalance_handler.feed(chunk_of(0, 1))
    world.log.generation = 2

    await world.rebalance_handler.close()

    assert 0 == world.log.committed


async def test_a_partition_worker_that_ended_by_itself_is_noticed() -> None:
    """The watchdog asks `broken`, so that an idle partition worker never goes unseen."""
    world = World()
    world.sink.defect = RuntimeError("a defect of ours")
    await world.take_over()
    healthy = world.rebalance_handler.broken

    for offset in range(10):
        world.rebalance_handler.feed(chunk_of(offset, index=offset))
    async with asyncio.timeout(5):
        while not world.rebalance_handler.broken:
            await asyncio.sleep(0.001)

    assert not healthy
    await world.rebalance_handler.close()


async def test_nothing_begins_after_the_stop() -> None:
    """Faust seeks once more while it stops; that must not bring the partition workers back."""
    world = World()
    await world.take_over()
    await world.rebalance_handler.close()

    await world.take_over()

    assert [(1, 0)] == world.log.sought
    assert "stopping" == world.health.state


async def test_a_rebalance_in_a_stop_waits_for_the_insert_that_still_runs() -> None:
    """Else the partitions are another worker's while this one stores them: counted twice."""
    world = World()
    world.sink.answers.clear()
    await world.take_over()
    world.rebalance_handler.feed(chunk_of(0, 1))
    stop = asyncio.create_task(world.rebalance_handler.close())
    await world.sink.begun.wait()

    release = asyncio.create_task(world.rebalance_handler.release())
    await asyncio.sleep(0.05)
    released_early = release.done()
    world.sink.answers.set()
    async with asyncio.timeout(5):
        await asyncio.gather(stop, release)

    assert not released_early
    assert 2 == world.log.committed


async def test_a_takeover_resumes_partitions_that_the_old_partition_workers_held() -> None:
    """A partition worker that is cut short with full memory would leave its partition paused."""
    world = World()
    flow = RememberingFlow()
    world.rebalance_handler.assign({PARTITION})

    async with asyncio.timeout(5):
        await world.rebalance_handler.take_over(world.log, flow)
    await world.rebalance_handler.close()

    assert [PARTITION] == flow.resumed


class RememberingFlow(Flow):
    """Remembers which partitions were resumed."""

    def __init__(self) -> None:
        self.resumed: list[Any] = []

    def on_buffer_drop(self, tp: Any, /) -> None:
        self.resumed.append(tp)


@pytest.mark.parametrize(
    ("identity", "another"),
    [
        (TopicIdentity("cluster", "topic-id"), False),
        (TopicIdentity("cluster", "recreated"), True),
        (TopicIdentity("another cluster", "topic-id"), True),
    ],
)
async def test_a_topic_that_was_made_anew_is_noticed(
    identity: TopicIdentity, another: bool
) -> None:
    """There may be no rebalance, and its records must not be stored under the old id."""
    world = World()
    await world.take_over()

    found = world.rebalance_handler.is_of_another(PARTITION.topic, identity)
    await world.rebalance_handler.close()

    assert another == found
