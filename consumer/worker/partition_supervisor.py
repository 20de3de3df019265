"""Runs the worker of one partition; while the partition is parked, waits for a release."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final, Protocol

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.lineage import Lineage
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.parked import Parked, ParkedError
from usagepipe.consumer.protocol.positions import Flow, ResumePoint
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.runtime.lag import Progress
from usagepipe.consumer.worker.partition_worker import PartitionWorker

LOOK_SECONDS: Final = 2.0  # between two looks for a release


class Reading(Flow, Protocol):
    """Fetches the log of a partition."""

    async def read_from(self, tp: TopicPartition, read: Lineage, /) -> int: ...


class ParkingPlace(Protocol):
    """Parks partitions, and knows when they are released (`parking.Parking`)."""

    async def begin(
        self, partition: TopicPartition, topic_id: str, position: int
    ) -> Parked | None: ...
    async def park(self, parked: Parked) -> None: ...
    async def is_released(self, parked: Parked) -> bool: ...
    def leave(self, partition: TopicPartition) -> None: ...


class PartitionSupervisor:
    """Stores one partition from `start` on, for as long as its assignment lasts."""

    def __init__(
        self,
        partition: TopicPartition,
        start: ResumePoint,
        make_worker: Callable[[ResumePoint], PartitionWorker],
        parking: ParkingPlace,
        flow: Reading,
    ) -> None:
        self._partition = partition
        self._start = start
        self._make_worker = make_worker
        self._parking = parking
        self._flow = flow
        # None while parked: it holds no memory then.
        self._worker: PartitionWorker | None = make_worker(start)
        self._progress = Progress(start.offset)
        self._draining = asyncio.Event()

    @property
    def topic(self) -> TopicIdentity:
        return self._start.topic

    @property
    def position(self) -> int:
        """Everything before it is stored."""
        return self._worker.position if self._worker is not None else self._start.offset

    @property
    def progress(self) -> Progress:
        """How far it has come. While it is parked: how far it had come before."""
        return self._worker.progress if self._worker is not None else self._progress

    @property
    def buffered_rows(self) -> int:
        return self._worker.buffered_rows if self._worker is not None else 0

    def take(self, chunk: Chunk) -> bool:
        """Take the next chunk. False: one before it is lost: read the partition again."""
        return self._worker is None or self._worker.take(chunk)  # parked: it is read again later

    def drain(self, *, keep: bool) -> None:
        """End `run()` after the batch in hand, or (`keep`) after all that was taken is stored."""
        self._draining.set()
        if self._worker is not None:
            self._worker.drain(keep=keep)

    async def run(self) -> None:
        """Store, and wait while the partition is parked, until drained or fenced."""
        parked = await self._parking.begin(self._partition, self.topic.topic_id, self.position)
        try:
            while parked is not None or (parked := await self._store()) is not None:
                if not await self._wait(parked):
                    return
                parked = None
        finally:
            self._parking.leave(self._partition)

    async def _store(self) -> Parked | None:
        """Run the partition worker until it ends; what must be parked, if that ended it."""
        assert self._worker is not None
        try:
            await self._worker.run()
        except ParkedError as error:
            return error.parked
        return None

    async def _wait(self, parked: Parked) -> bool:
        """Hold the partition until it is released. False: drained before."""
        self._give_worker_back()
        await self._parking.park(parked)
        while not self._draining.is_set():
            if await self._parking.is_released(parked):
                self._parking.leave(self._partition)
                await self._read_again()
                return not self._draining.is_set()  # the new partition worker was not drained
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), LOOK_SECONDS)
        return False

    def _give_worker_back(self) -> None:
        assert self._worker is not None
        self._flow.on_buffer_full(self._partition)  # fetch no more of it
        self._start = self._worker.rest
        self._progress = self._worker.progress
        self._worker.give_back()
        self._worker = None

    async def _read_again(self) -> None:
        """Fetch from where the partition worker ended.

        Chunks of an older fetch have smaller indexes.
        """
        read = Lineage(self._start.offset, self._start.leader_epoch)
        index = await self._flow.read_from(self._partition, read)
        self._start = replace(self._start, index=index)
        self._worker = self._make_worker(self._start)
        self._flow.on_buffer_drop(self._partition)
