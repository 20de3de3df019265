"""The committer writes the newest position of each partition, and stops for good when fenced."""

import asyncio
from collections.abc import Mapping

import pytest

from usagepipe.consumer.committer import Committer, FencedError
from usagepipe.consumer.metrics import WorkerMetrics
from usagepipe.consumer.records import TopicPartition

pytestmark = pytest.mark.anyio
ONE, TWO = TopicPartition("t", 1), TopicPartition("t", 2)


class Coordinator:
    """Takes commits; fails or fences when told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.commits: list[dict[TopicPartition, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.commits.append(dict(positions))


async def test_positions_that_wait_go_out_together() -> None:
    """While a commit is in flight the others gather, each partition's newest position only."""
    coordinator = Coordinator()
    coordinator.gate.clear()
    committer = Committer(coordinator.commit, WorkerMetrics())
    task = asyncio.create_task(committer.run())
    committer.acknowledge(ONE, 5)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for partition, end in ((ONE, 6), (TWO, 9), (ONE, 7)):
        committer.acknowledge(partition, end)

    coordinator.gate.set()
    async with asyncio.timeout(5):
        await committer.idle()
    task.cancel()

    assert [{ONE: 5}, {ONE: 7, TWO: 9}] == coordinator.commits
    assert {ONE: 7, TWO: 9} == committer.committed


async def test_a_failed_commit_is_tried_again() -> None:
    """A coordinator that is away costs time, not positions."""
    coordinator = Coordinator(ConnectionError("away"), ConnectionError("still away"))
    committer = Committer(coordinator.commit, WorkerMetrics())
    task = asyncio.create_task(committer.run())

    committer.acknowledge(ONE, 5)
    async with asyncio.timeout(5):
        await committer.idle()
    task.cancel()

    assert [{ONE: 5}] == coordinator.commits


async def test_a_fenced_committer_never_commits_again() -> None:
    """After the group moved on, nothing of this tenure reaches the coordinator."""
    coordinator = Coordinator(FencedError("moved on"))
    committer = Committer(coordinator.commit, WorkerMetrics())

    committer.acknowledge(ONE, 5)
    async with asyncio.timeout(5):
        await committer.run()
        await committer.idle()

    assert committer.fenced
    assert [] == coordinator.commits
