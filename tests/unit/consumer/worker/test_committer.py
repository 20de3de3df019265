"""The committer writes the newest position of each partition, and stops for good when fenced."""

import asyncio
from collections.abc import Mapping

import pytest

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.announcement import Announcement, acknowledgement
from usagepipe.consumer.protocol.positions import FencedError, Position
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.worker.committer import Committer

pytestmark = pytest.mark.anyio
ONE, TWO = TopicPartition("t", 1), TopicPartition("t", 2)

PENDING = Announcement("topic-id", 5, 9, records=4, epoch=0)


def at(offset: int) -> Position:
    return Position(offset, acknowledgement("topic-id"))


class Coordinator:
    """Takes commits; fails or fences on request."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.commits: list[dict[TopicPartition, Position]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, positions: Mapping[TopicPartition, Position]) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.commits.append(dict(positions))


async def test_positions_that_wait_go_out_together() -> None:
    """While a commit is in flight the others gather, each partition's newest position only."""
    coordinator = Coordinator()
    coordinator.gate.clear()
    committer = Committer(coordinator.commit, WorkerMetrics(), Health())
    task = asyncio.create_task(committer.run())
    committer.acknowledge(ONE, 5, "topic-id", UNKNOWN_EPOCH)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for partition, end in ((ONE, 6), (TWO, 9), (ONE, 7)):
        committer.acknowledge(partition, end, "topic-id", UNKNOWN_EPOCH)

    coordinator.gate.set()
    async with asyncio.timeout(5):
        await committer.idle()
    task.cancel()

    assert [{ONE: at(5)}, {ONE: at(7), TWO: at(9)}] == coordinator.commits


async def test_a_failed_commit_is_tried_again() -> None:
    """An unreachable coordinator costs time, not positions."""
    coordinator = Coordinator(ConnectionError("away"), ConnectionError("still away"))
    committer = Committer(coordinator.commit, WorkerMetrics(), Health())
    task = asyncio.create_task(committer.run())

    committer.acknowledge(ONE, 5, "topic-id", UNKNOWN_EPOCH)
    async with asyncio.timeout(5):
        await committer.idle()
    task.cancel()

    assert [{ONE: at(5)}] == coordinator.commits


async def test_a_fenced_committer_never_commits_again() -> None:
    """After the group moved on, nothing of this assignment reaches the coordinator."""
    coordinator = Coordinator(FencedError("moved on"))
    committer = Committer(coordinator.commit, WorkerMetrics(), Health())

    committer.acknowledge(ONE, 5, "topic-id", UNKNOWN_EPOCH)
    async with asyncio.timeout(5):
        await committer.run()
        await committer.idle()

    assert committer.fenced
    assert [] == coordinator.commits


async def test_an_announcement_returns_when_it_is_committed() -> None:
    """Its commit acknowledges what came before, and names what comes now."""
    coordinator = Coordinator(ConnectionError("away"))
    committer = Committer(coordinator.commit, WorkerMetrics(), Health())
    task = asyncio.create_task(committer.run())

    async with asyncio.timeout(5):
        await committer.announce(ONE, PENDING)
    task.cancel()

    assert [{ONE: Position(5, PENDING.encode())}] == coordinator.commits


async def test_an_announcement_of_a_fenced_assignment_is_refused() -> None:
    """Its insert must not begin, whether the fence falls before or after it was put in."""
    coordinator = Coordinator(FencedError("moved on"))
    committer = Committer(coordinator.commit, WorkerMetrics(), Health())
    task = asyncio.create_task(committer.run())

    for _ in range(2):
        with pytest.raises(FencedError):
            async with asyncio.timeout(5):
                await committer.announce(ONE, PENDING)
    await task

    assert [] == coordinator.commits


async def test_an_acknowledgement_in_flight_is_no_announcement() -> None:
    """Its commit must not start the insert that is announced after it."""
    coordinator = Coordinator()
    coordinator.gate.clear()
    committer = Committer(coordinator.commit, WorkerMetrics(), Health())
    task = asyncio.create_task(committer.run())
    committer.acknowledge(ONE, 5, "topic-id", UNKNOWN_EPOCH)
    await asyncio.sleep(0.01)

    announcing = asyncio.create_task(committer.announce(ONE, PENDING))
    coordinator.gate.set()
    async with asyncio.timeout(5):
        await announcing
    task.cancel()

    assert [{ONE: at(5)}, {ONE: Position(5, PENDING.encode())}] == coordinator.commits
