"""Decides when a partition is parked and when it is resumed. One object for a whole worker.

The steps, and the cost of a crash after each:

1. A batch exceeds a limit before it is announced, or ClickHouse refuses one announced record too
   many. Nothing of the batch is stored; everything before it is stored and committed. Crash: the
   next owner reads the range again and counts from zero, so it may send as many dead letters as a
   limit allows before it parks the partition.
2. A note in ClickHouse says that the partition is parked. Crash: the next owner parks it at once.
3. The partition is paused, its memory is released, and the notes are read every few seconds.
4. An operator has released the range. A note says that the partition is resumed. Crash: the next
   owner continues. It finds the release too, so it does not park the released range again.
5. The log is read again from the first offset of the range, as after a takeover. Crash: as 4.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from usagepipe import __version__
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.limits import (
    NO_COUNTS,
    Counts,
    DeadLetterCounter,
    DeadLetterLimits,
    Excess,
)
from usagepipe.consumer.parking.parked import Parked, ParkedError, Report
from usagepipe.consumer.parking.table import Mode, Notes, ParkingTable, Release
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.rows.rows import Rejected, Rows
from usagepipe.consumer.runtime.health import worker_name
from usagepipe.consumer.runtime.runtime import Runtime
from usagepipe.schemas.gap import GAP

log = structlog.get_logger()


class Parking:
    """Counts refused records, and reads and writes the notes about parked partitions."""

    def __init__(self, table: ParkingTable, limits: DeadLetterLimits, runtime: Runtime) -> None:
        self._table = table
        self._limits = limits
        self._runtime = runtime
        self._counts: dict[TopicPartition, DeadLetterCounter] = {}
        self._resumed: dict[TopicPartition, Parked] = {}
        self._worker = worker_name()

    async def begin(self, partition: TopicPartition, topic_id: str, position: int) -> Parked | None:
        """Start to count a partition that is read from `position`.

        Returns its parking if the partition is still parked.
        """
        notes = await self._read(partition, topic_id)
        self._count_from(partition, NO_COUNTS, notes.release)
        parked = notes.parked
        if parked is None or position < parked.first:
            return None
        is_committed = position > parked.last  # by another owner
        if is_committed or notes.is_released or self._may_accept(parked):
            await self._resume(parked, notes.release)
            return None
        return replace(parked, worker=self._worker)

    def check(self, batch: Batch, topic_id: str, rows: Rows) -> None:
        """Count a batch before it is announced.

        Raises:
            ParkedError: it exceeds a limit.
        """
        # Gap records do not count: a producer that reports its losses sends no bad records.
        rejected = [each for each in rows.rejected if each.reason != GAP]
        refused = frozenset(each.record.offset for each in rejected)
        excess = self._count(batch.partition).add(sorted([*rows.offsets, *refused]), refused)
        if excess is not None:
            raise self._error(batch, topic_id, rejected, excess)

    def refuse(self, batch: Batch, topic_id: str, rejected: Rejected) -> None:
        """Count the only record of `batch`, refused by ClickHouse, before its dead letter is sent.

        Raises:
            ParkedError: it exceeds a limit.
        """
        excess = self._count(batch.partition).refuse(rejected.record.offset)
        if excess is not None:
            raise self._error(batch, topic_id, [rejected], excess)

    def store(self, partition: TopicPartition) -> None:
        """ClickHouse accepted rows of `partition`."""
        self._count(partition).store()

    async def park(self, parked: Parked) -> None:
        """Write the note of the parking, then report it to health, metrics and log.

        The note comes first, because a release needs it: `dlq release` works as soon as the health
        shows the partition.
        """
        await self._runtime.ask(_place(parked.partition), self._table.park, parked)
        self._runtime.health.park(parked)
        self._count_parked()
        log.error(
            "partition_parked",
            partition=str(parked.partition),
            first=parked.first,
            last=parked.last,
            why=parked.why,
            cure=parked.cure,
        )

    async def is_released(self, parked: Parked) -> bool:
        """Whether an operator has released it; then a note says that the partition is resumed.

        A partition without a note is resumed too: its range is checked and parked again.
        """
        notes = await self._read(parked.partition, parked.topic_id)
        if notes.parked is not None and not notes.is_released:
            return False
        await self._resume(parked, notes.release)
        return True

    def leave(self, partition: TopicPartition) -> None:
        """The partition is no longer parked on this worker."""
        self._runtime.health.unpark(partition)
        self._count_parked()

    def _count_parked(self) -> None:
        self._runtime.metrics.parked_partitions.set(len(self._runtime.health.parked))

    async def _resume(self, parked: Parked, release: Release | None) -> None:
        await self._runtime.ask(_place(parked.partition), self._table.resume, parked)
        self._resumed[parked.partition] = parked
        self._count_from(parked.partition, parked.report.excess.before, release)
        log.info(
            "partition_resumed",
            partition=str(parked.partition),
            first=parked.first,
            last=parked.last,
            release=release.mode if release and release.applies_to(parked) else None,
        )

    def _may_accept(self, parked: Parked) -> bool:
        """Whether this worker has other limits or another version than the one that parked it."""
        return parked.report.limits != self._limits or parked.report.version != __version__

    def _count(self, partition: TopicPartition) -> DeadLetterCounter:
        return self._counts.setdefault(partition, DeadLetterCounter(self._limits))

    def _count_from(
        self, partition: TopicPartition, counted: Counts, release: Release | None
    ) -> None:
        """Count from `counted`; after a release as dead letters from zero, without its range."""
        exempt = range(0)
        if release is not None and release.mode is Mode.LETTERS:
            exempt, counted = range(release.first, release.last + 1), NO_COUNTS
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
        return await self._runtime.ask(
            _place(partition), self._table.read, topic_id, partition.partition
        )


def _place(partition: TopicPartition) -> str:
    """Names a read or write of the table in the log and the health."""
    return f"parked state of {partition}"
