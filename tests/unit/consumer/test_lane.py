"""A lane stores its partition in order, acknowledges after storing, and presses back when full."""

import asyncio
from typing import Any

import pytest

from tests.unit.consumer.records import PARTITION, run_of
from usagepipe.consumer.batch import Batch, BatchPolicy
from usagepipe.consumer.lane import Lane

pytestmark = pytest.mark.anyio
EAGER = BatchPolicy(rows=2, size=1_000, seconds=0.01)


class World:
    """Where a lane stores and acknowledges, and who fetches for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.held = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def store(self, batch: Batch) -> None:
        await self.gate.wait()
        self.events.append(("stored", batch.end))

    def acknowledge(self, partition: Any, end: int) -> None:
        self.events.append(("acknowledged", end))

    def on_buffer_full(self, tp: Any, /) -> None:
        self.held = True

    def on_buffer_drop(self, tp: Any, /) -> None:
        self.held = False

    def lane(self, policy: BatchPolicy = EAGER, position: int = 0) -> Lane:
        return Lane(PARTITION, position, policy, self.store, self.acknowledge, self)


async def test_a_batch_is_acknowledged_after_it_is_stored() -> None:
    """Store, then acknowledge, batch by batch, in the order of the log."""
    world = World()
    lane = world.lane()
    lane.take(run_of(0, 1, 2))

    lane.drain(keep=True)
    await lane.run()

    assert [("stored", 2), ("acknowledged", 2), ("stored", 3), ("acknowledged", 3)] == world.events
    assert 3 == lane.position


async def test_a_failed_store_acknowledges_nothing() -> None:
    """Whatever ends the store ends the lane before the offset moves."""
    world = World()
    lane = world.lane()
    lane._store = _refuse
    lane.take(run_of(0, 1))

    with pytest.raises(RuntimeError, match="refused"):
        await lane.run()

    assert [] == world.events
    assert 0 == lane.position


async def _refuse(batch: Batch) -> None:
    raise RuntimeError("refused")


async def test_a_missing_run_is_noticed() -> None:
    """A run that got lost between fetcher and lane must be read again, not skipped."""
    lane = World().lane()

    assert lane.take(run_of(0, 1, index=0))
    assert not lane.take(run_of(4, 5, index=2))
    assert 2 == lane.buffered_rows


async def test_fetching_stops_at_two_batches_and_resumes_below_one() -> None:
    """The memory of a lane is bounded, however long the server is away."""
    world = World()
    world.gate.clear()
    lane = world.lane()
    task = asyncio.create_task(lane.run())
    lane.take(run_of(0, 1, index=0))
    await asyncio.sleep(0)
    lane.take(run_of(2, 3, 4, 5, index=1))
    full = world.held

    world.gate.set()
    lane.drain(keep=True)
    await task

    assert full
    assert not world.held


async def test_a_batch_that_does_not_fill_closes_by_time() -> None:
    """A single event is stored soon, not when a thousand more have come."""
    world = World()
    lane = world.lane()
    task = asyncio.create_task(lane.run())

    lane.take(run_of(0))
    async with asyncio.timeout(5):
        while ("acknowledged", 1) not in world.events:
            await asyncio.sleep(0.001)
    task.cancel()

    assert [("stored", 1), ("acknowledged", 1)] == world.events


async def test_a_rebalance_leaves_what_was_only_fetched() -> None:
    """Draining without `keep` finishes the batch in hand; the rest is the next owner's."""
    world = World()
    world.gate.clear()
    lane = world.lane()
    task = asyncio.create_task(lane.run())
    lane.take(run_of(0, 1, index=0))
    await asyncio.sleep(0)
    lane.take(run_of(2, 3, index=1))

    lane.drain(keep=False)
    world.gate.set()
    await task

    assert [("stored", 2), ("acknowledged", 2)] == world.events
