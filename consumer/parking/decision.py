"""Decides when a partition is parked, and when it goes on. One object for all of a worker.

How a partition is parked, and what a crash after each step costs:

1. A batch passes a limit before it is announced, or ClickHouse refuses one announced record too
   many. Nothing of it is stored. What came before is stored and acknowledged. A crash: the next
   owner reads the range again and counts from zero, so up to one limit's worth of dead letters
   may be sent before it parks.
2. The parking is noted in ClickHouse. A crash: the next owner parks the partition at once.
3. The partition is paused, its memory is given back, and the notes are read every few seconds.
4. An operator has released the range: that the partition goes on is noted. A crash: the next owner
   reads on. It finds the release too, so the released range is not parked again.
5. The log is read again from the first offset of the range, as after a takeover. A crash: as 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import structlog

from usagepipe import __version__
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.limits import (
    NOTHING,
    Counted,
    DeadLetterCounter,
    DeadLetterLimits,
    Excess,
)
from usagepipe.consumer.parking.parked import Parked, ParkedError, Report
from usagepipe.consumer.parking.table import Mode, Notes, ParkingTable, Release
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.rows.rows import Rejected, Rows
from usagepipe.consumer.runtime.health import Health, worker_name
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.persistence import Persistence
from usagepipe.consumer.runtime.threads import Threads, in_thread
from usagepipe.schemas.gap import GAP

Result = TypeVar("Result")

log = structlog.get_logger()


class Parking:
    """Counts refused records, and keeps the notes of the partitions that are parked."""

    def __init__(
        self,
        table: ParkingTable,
        limits: DeadLetterLimits,
        threads: Threads,
        persist: Persistence,
        metrics: WorkerMetrics,
        health: Health,
    ) -> None:
        self._table = table
        self._limits = limits
        self._threads = threads
        self._persist = persist
        self._metrics = metrics
        self._health = health
        self._counts: dict[TopicPartition, DeadLetterCounter] = {}
        self._resumed: dict[TopicPartition, Parked] = {}
        self._worker = worker_name()

    async def begin(self, partition: TopicPartition, topic_id: str, position: int) -> Parked | None:
        """Begin to count a partition that is read from `position`; its parking, if one stands."""
        notes = await self._read(partition, topic_id)
        self._count_from(partition, NOTHING, notes.release)
        parked = notes.parked
        if parked is None or position < parked.first:
            return None
        if position > parked.last:  # somebody else moved the group on
            await self._resume(parked, notes.release)
            return None
        if notes.is_released or self._judges_otherwise(parked):
            await self._resume(parked, notes.release)
            return None
        return replace(parked, worker=self._worker)

    def check(self, batch: Batch, topic_id: str, rows: Rows) -> None:
        """Count a batch before it is announced.

        Raises:
            ParkedError: it passes a limit.
        """
        # A producer that reports its losses is no producer of bad records.
        rejected = [each for each in rows.rejected if each.reason != GAP]
        refused = frozenset(each.record.offset for each in rejected)
        excess = self._count(batch.partition).add(sorted([*rows.offsets, *refused]), refused)
        if excess is not None:
            raise self._error(batch, topic_id, rejected, excess)

    def refuse(self, batch: Batch, topic_id: str, letter: Rejected) -> None:
        """Count the one record of `batch`, which ClickHouse refuses, before its letter is sent.

        Raises:
            ParkedError: it passes a limit.
        """
        excess = self._count(batch.partition).refuse(letter.record.offset)
        if excess is not None:
            raise self._error(batch, topic_id, [letter], excess)

    def store(self, partition: TopicPartition) -> None:
        """ClickHouse took rows of `partition`."""
        self._count(partition).store()

    async def park(self, parked: Parked) -> None:
        """Say everywhere that the partition is parked; returns when it is noted."""
        self._health.park(parked)
        self._metrics.parked_partitions.set(len(self._health.parked))
        log.error(
            "partition_parked",
            partition=str(parked.partition),
            first=parked.first,
            last=parked.last,
            why=parked.why,
            cure=parked.cure,
        )
        await self._ask(parked.partition, self._table.park, parked)

    async def is_released(self, parked: Parked) -> bool:
        """Whether an operator has released it. If so, it is noted that the partition goes on.

        Where the note is gone it goes on too: the range is judged again, and parked again.
        """
        notes = await self._read(parked.partition, parked.topic_id)
        if notes.parked is not None and not notes.is_released:
            return False
        await self._resume(parked, notes.release)
        return True

    def leave(self, partition: TopicPartition) -> None:
        """The partition is not parked here any more."""
        self._health.unpark(partition)
        self._metrics.parked_partitions.set(len(self._health.parked))

    async def _resume(self, parked: Parked, release: Release | None) -> None:
        await self._ask(parked.partition, self._table.resume, parked)
        self._resumed[parked.partition] = parked
        self._count_from(parked.partition, parked.report.excess.before, release)
        log.info(
            "partition_resumed",
            partition=str(parked.partition),
            first=parked.first,
            last=parked.last,
            release=release.mode if release and release.applies_to(parked) else None,
        )

    def _judges_otherwise(self, parked: Parked) -> bool:
        """Whether this worker may find the range within its limits: nobody need ask it to."""
        return parked.report.limits != self._limits or parked.report.version != __version__

    def _count(self, partition: TopicPartition) -> DeadLetterCounter:
        return self._counts.setdefault(partition, DeadLetterCounter(self._limits))

    def _count_from(
        self, partition: TopicPartition, counted: Counted, release: Release | None
    ) -> None:
        """Count on: after a release with letters from zero, and without its range."""
        exempt = range(0)
        if release is not None and release.mode is Mode.LETTERS:
            exempt, counted = range(release.first, release.last + 1), NOTHING
        self._counts[partition] = DeadLetterCounter(self._limits, counted, exempt)

    def _error(
        self, batch: Batch, topic_id: str, rejected: Sequence[Rejected], excess: Excess
    ) -> ParkedError:
        report = Report.of(batch.count, rejected, excess, self._limits)
        before = self._resumed.get(batch.partition)
        again = before is not None and (before.topic_id, before.first) == (topic_id, batch.first)
        since = before.since if before is not None and again else datetime.now(UTC)
        return ParkedError(
            Parked(batch.partition, topic_id, batch.first, batch.last, report, since, self._worker)
        )

    async def _read(self, partition: TopicPartition, topic_id: str) -> Notes:
        return await self._ask(partition, self._table.read, topic_id, partition.partition)

    async def _ask(
        self, partition: TopicPartition, function: Callable[..., Result], *arguments: object
    ) -> Result:
        """Call ClickHouse in a thread until it answers."""
        attempt = partial(in_thread, self._threads.ask, function, *arguments)
        answer, _ = await self._persist("clickhouse", f"parked state of {partition}", attempt)
        return answer
