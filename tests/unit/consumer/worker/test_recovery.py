"""A partition worker first recovers what an earlier owner announced or left unannounced."""

import asyncio

import pytest

from tests.support.fake_records import chunk_of
from tests.support.partition_world import TOPIC, PartitionWorld, until
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.positions import ResumePoint

pytestmark = pytest.mark.anyio


async def test_a_pending_range_is_sent_again_exactly_and_without_an_announcement() -> None:
    """Recovery ignores all limits: the range is the one that was announced, token and all."""
    world = PartitionWorld()
    worker = world.worker(ResumePoint(3, TOPIC, Announcement("topic-id", 3, 9, records=6, epoch=0)))
    worker.take(chunk_of(3, 4, 5, index=0))
    worker.take(chunk_of(7, 8, 9, 10, index=1))

    task = asyncio.create_task(worker.run())
    await until(lambda: worker.position >= 10)
    worker.drain(keep=True)
    await task

    assert [("stored again", 10), ("announced", 11), ("stored", 11)] == world.events[:3]


async def test_a_pending_range_waits_until_its_end_was_seen() -> None:
    """Half a range is not the range; only an offset at or after its end proves it complete."""
    world = PartitionWorld()
    worker = world.worker(ResumePoint(3, TOPIC, Announcement("topic-id", 3, 9, records=6, epoch=0)))
    worker.take(chunk_of(3, 4, 5))
    task = asyncio.create_task(worker.run())
    await asyncio.sleep(0.05)

    worker.drain(keep=True)
    await task

    assert [] == world.events


async def test_a_pending_range_whose_last_records_are_gone_ends_with_the_next_one() -> None:
    """An offset after the end closes the range too: transaction markers leave gaps."""
    world = PartitionWorld()
    worker = world.worker(ResumePoint(3, TOPIC, Announcement("topic-id", 3, 9, records=2, epoch=0)))
    worker.take(chunk_of(3, 4, 12))
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.position >= 13)

    worker.drain(keep=True)
    await task

    assert [("stored again", 10), ("announced", 13), ("stored", 13)] == world.events[:3]


async def test_a_pending_range_that_holds_more_than_was_announced_is_nobodys() -> None:
    """Another tool may have written the metadata: the range could fill the memory."""
    world = PartitionWorld()
    world.stored_to = 1  # rows that nobody announced are found in the table
    worker = world.worker(
        ResumePoint(0, TOPIC, Announcement("topic-id", 0, 1_000_000, records=3, epoch=0))
    )
    worker.take(chunk_of(0, 1, 2, 3))
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.position >= 4)
    worker.drain(keep=True)
    await task

    assert [(0, 1, 1, True), (2, 3, 0, False)] == world.inserted


async def test_a_range_that_was_read_whole_presses_back_until_it_is_stored() -> None:
    """An unreachable server at the start must not fill the memory."""
    world = PartitionWorld()
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


async def test_rows_that_nobody_announced_are_not_stored_again() -> None:
    """If the table holds rows after the commit, only the missing rows of a batch are written."""
    world = PartitionWorld()
    world.stored_to = 2
    worker = world.worker()
    worker.take(chunk_of(0, 1, 2, 3, 4, 5))

    worker.drain(keep=True)
    await worker.run()

    assert [(0, 1, 1, True), (2, 3, 1, True), (4, 5, 0, False)] == world.inserted
