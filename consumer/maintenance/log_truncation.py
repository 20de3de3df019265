"""Finds rows of events that the log no longer has, because it was truncated.

A log that loses its end gives the same offsets to other events, in a new leader epoch that begins
at the truncation. Rows from there on that arrived before the epoch began are of lost records.
Brokers' clocks differ, so rows that arrived near that time are compared with the log, event by
event. Nothing else is read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from usagepipe.consumer.log.offset_ranges import OffsetRange, joined, near, offsets_of, ranges_of
from usagepipe.consumer.maintenance.audit_queries import AuditQueries
from usagepipe.consumer.maintenance.log_records import NEAR_OFFSETS, read_batches
from usagepipe.consumer.maintenance.row_repair import RowRepair
from usagepipe.consumer.topics.log_reader import LogReader

CLOCK_DIFFERENCE: Final = timedelta(seconds=10)  # the most between two brokers


@dataclass(frozen=True, slots=True)
class Diverged:
    """Offsets of a partition where the table and the log have different events."""

    rows: tuple[OffsetRange, ...] = ()  # with a row of an event that the log does not have there
    unstored: tuple[OffsetRange, ...] = ()  # those of them whose record in the log has no row
    first_truncation: int | None = None  # start of the second leader epoch


# Where leader epochs of a partition begin between two offsets; None: the broker cannot be asked.
EpochBorders = Callable[[int, int, int], Sequence[int] | None]


class _Epoch(NamedTuple):
    """The first record at or after an offset, and its leader epoch."""

    offset: int
    epoch: int


class TruncationFinder:
    """Compares one topic's log with its rows. Use it in one thread."""

    def __init__(
        self, log: LogReader, borders: EpochBorders, queries: AuditQueries, repair: RowRepair
    ) -> None:
        self._log = log
        self._borders = borders
        self._queries = queries
        self._repair = repair

    def find(self, partition: int, low: int, high: int) -> Diverged:
        """What diverges from the offset `low` on, in a log that ends at `high`."""
        starts = _epoch_starts(self._log, self._borders, partition, low, high)
        suspects = sorted(
            {
                offset
                for start, arrived in self._arrivals(partition, starts)
                for offset in self._queries.arrived_before(
                    partition, start, high, arrived + CLOCK_DIFFERENCE
                )
            }
        )
        rows: set[int] = set()
        unstored: set[int] = set()
        for group in near(ranges_of(suspects), NEAR_OFFSETS):
            foreign, without_row = self._compare(partition, group)
            rows |= foreign
            unstored |= without_row
        beyond = self._beyond_end(partition, high)
        diverged = joined([*ranges_of(sorted(rows)), *beyond])
        first = starts[0] if starts else None
        return Diverged(tuple(diverged), tuple(ranges_of(sorted(unstored))), first)

    def _arrivals(self, partition: int, offsets: Sequence[int]) -> Iterator[tuple[int, datetime]]:
        """Each offset, with the arrival of the first record at or after it."""
        if not offsets:
            return
        _, decided = self._log.span(partition)
        for offset in offsets:
            message = next(self._log.read(partition, offset, decided), None)
            if message is not None:
                yield offset, datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)

    def _compare(
        self, partition: int, suspects: Sequence[OffsetRange]
    ) -> tuple[set[int], set[int]]:
        """Of the suspects: offsets with a row of another event, and offsets without their row."""
        span = OffsetRange(suspects[0].first, suspects[-1].last)
        chosen = set(offsets_of(suspects))
        stored = self._repair.stored_places(partition, span)
        in_log = {
            place
            for batch in read_batches(self._log, partition, span)
            for place in self._repair.event_places(partition, batch)
        }
        foreign = {place.offset for place in stored - in_log} & chosen
        return foreign, chosen - {place.offset for place in stored & in_log}

    def _beyond_end(self, partition: int, high: int) -> list[OffsetRange]:
        """Rows after the log's end. The end is read after the rows, because it may have grown."""
        found = self._queries.offsets_from(partition, high)
        if not found:
            return []
        end = self._log.end_after(partition, self._log.span(partition)[1])
        return ranges_of(offset for offset in found if offset >= end)


def first_truncation(log: LogReader, borders: EpochBorders, partition: int) -> int | None:
    """The start of the second leader epoch, before which nothing was truncated; None: no second."""
    starts = _epoch_starts(log, borders, partition, *log.span(partition))
    return starts[0] if starts else None


def _epoch_starts(
    log: LogReader, borders: EpochBorders, partition: int, low: int, high: int
) -> Sequence[int]:
    """The start of each leader epoch of the log except the first."""
    found = borders(partition, low, high)
    return [*_search_epochs(log, partition, low, high)] if found is None else found


def _search_epochs(log: LogReader, partition: int, low: int, high: int) -> Iterator[int]:
    """The same, found by reading, for brokers that do not answer that question."""
    current = _first_from(log, partition, low, high)
    last = _first_from(log, partition, high - 1, high)
    if current is None or (last is not None and last.epoch == current.epoch):
        return
    while (following := _next_epoch(log, partition, current, high)) is not None:
        yield following.offset
        current = following


def _next_epoch(log: LogReader, partition: int, current: _Epoch, high: int) -> _Epoch | None:
    """The first record of a later epoch than `current`, by bisection: epochs only grow."""
    first, end = current.offset + 1, high
    found: _Epoch | None = None
    while first < end:
        middle = (first + end) // 2
        record = _first_from(log, partition, middle, end)
        if record is not None and record.epoch == current.epoch:
            first = record.offset + 1
        else:
            end, found = middle, record or found
    return found


def _first_from(log: LogReader, partition: int, offset: int, high: int) -> _Epoch | None:
    """None if there is no record, or the broker reports no epochs."""
    message = next(log.read(partition, max(0, offset), high), None)
    epoch = None if message is None else message.leader_epoch()
    if message is None or epoch is None or epoch < 0:
        return None
    return _Epoch(message.offset() or 0, epoch)
