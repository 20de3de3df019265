"""Finds rows of events that the log no longer has, because it was truncated.

A log that loses its end gives the same offsets to other events, in a new leader epoch that begins
at the truncation. Rows from there on that arrived before the epoch began are of lost records.
Brokers' clocks differ, so rows that arrived near that time are compared with the log, event by
event. Nothing else is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from usagepipe.consumer.log.offset_ranges import OffsetRange, joined, near, offsets_of, ranges_of
from usagepipe.consumer.maintenance.audit_queries import AuditQueries
from usagepipe.consumer.maintenance.consumed_topic import ConsumedTopic
from usagepipe.consumer.maintenance.log_records import NEAR_OFFSETS, read_batches
from usagepipe.consumer.maintenance.row_repair import RowRepair

CLOCK_DIFFERENCE: Final = timedelta(seconds=10)  # the most between two brokers


@dataclass(frozen=True, slots=True)
class Diverged:
    """Offsets of a partition where the table and the log have different events."""

    rows: tuple[OffsetRange, ...] = ()  # with a row of an event that the log does not have there
    unstored: tuple[OffsetRange, ...] = ()  # those of them whose record in the log has no row
    first_truncation: int | None = None  # start of the second leader epoch


@dataclass(frozen=True, slots=True)
class TruncationFinder:
    """Compares one topic's log with its rows. Use it in one thread."""

    topic: ConsumedTopic
    queries: AuditQueries
    repair: RowRepair

    def find(self, partition: int, low: int, high: int) -> Diverged:
        """What diverges from the offset `low` on, in a log that ends at `high`."""
        starts = self.topic.epoch_starts(partition, low, high)
        rows: set[int] = set()
        unstored: set[int] = set()
        for group in near(ranges_of(self._suspects(partition, starts, high)), NEAR_OFFSETS):
            foreign, without_row = self._compare(partition, group)
            rows |= foreign
            unstored |= without_row
        beyond = self._beyond_end(partition, high)
        diverged = joined([*ranges_of(sorted(rows)), *beyond])
        first = starts[0] if starts else None
        return Diverged(tuple(diverged), tuple(ranges_of(sorted(unstored))), first)

    def _suspects(self, partition: int, starts: Sequence[int], high: int) -> list[int]:
        """Offsets whose row may have arrived before the leader epoch of their record began."""
        suspects: set[int] = set()
        # Records after the first open transaction cannot be read.
        decided = self.topic.log.span(partition)[1] if starts else high
        for start in starts:
            first = next(self.topic.log.read(partition, start, decided), None)
            if first is not None:
                began = datetime.fromtimestamp(first.timestamp()[1] / 1000, UTC)
                latest = began + CLOCK_DIFFERENCE
                suspects.update(self.queries.arrived_before(partition, start, high, latest))
        return sorted(suspects)

    def _compare(
        self, partition: int, suspects: Sequence[OffsetRange]
    ) -> tuple[set[int], set[int]]:
        """Of the suspects: offsets with a row of another event, and offsets without their row."""
        span = OffsetRange(suspects[0].first, suspects[-1].last)
        chosen = set(offsets_of(suspects))
        stored = self.repair.stored_places(partition, span)
        in_log = {
            place
            for batch in read_batches(self.topic.log, partition, span)
            for place in self.repair.event_places(partition, batch)
        }
        foreign = {place.offset for place in stored - in_log} & chosen
        return foreign, chosen - {place.offset for place in stored & in_log}

    def _beyond_end(self, partition: int, high: int) -> list[OffsetRange]:
        """Rows after the log's end. The end is read after the rows, because it may have grown."""
        found = self.queries.offsets_from(partition, high)
        if not found:
            return []
        end = self.topic.log.end_after(partition, self.topic.log.span(partition)[1])
        return ranges_of(offset for offset in found if offset >= end)
