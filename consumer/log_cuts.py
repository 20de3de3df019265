"""Finds rows of events that the log no longer has: it lost its end, and gave its offsets again.

After such a loss another leader epoch begins, at the offset where the log was cut. So rows from
there on that arrived before it began are of the lost records. Brokers' clocks differ, so what
arrived near that moment is compared with the log, event by event; nothing else is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from usagepipe.consumer.audit_rows import AuditRows
from usagepipe.consumer.log_reader import LogReader
from usagepipe.consumer.offset_ranges import OffsetRange, joined, near, ranges_of
from usagepipe.consumer.reconcile import Reconciler, batches

CLOCKS_APART: Final = timedelta(seconds=10)  # of two brokers
READ_THROUGH: Final = 5_000  # offsets between two that are read together


@dataclass(frozen=True, slots=True)
class Diverged:
    """Offsets of a partition where table and log tell of different events."""

    rows: tuple[OffsetRange, ...] = ()  # there is a row of an event that the log has not there
    records: tuple[OffsetRange, ...] = ()  # among them, those whose record has no row of its own
    first_cut: int | None = None  # where the second leader epoch begins; before it no cut was


class _Found(NamedTuple):
    """The first record at or after an offset."""

    offset: int
    epoch: int
    arrived: datetime


class LogCuts:
    """Compares one topic's log with its rows. Use it in one thread."""

    def __init__(self, log: LogReader, rows: AuditRows, reconciler: Reconciler) -> None:
        self._log = log
        self._rows = rows
        self._reconciler = reconciler

    def find(self, partition: int, low: int, high: int) -> Diverged:
        """What diverges from `low` on, of a log that ends at `high`."""
        begins = list(_epochs(self._log, partition, low, high))
        suspects = sorted(
            {
                offset
                for begin in begins
                for offset in self._rows.arrived_before(
                    partition, begin.offset, high, begin.arrived + CLOCKS_APART
                )
            }
        )
        rows: set[int] = set()
        records: set[int] = set()
        for group in near(ranges_of(suspects), READ_THROUGH):
            span = OffsetRange(group[0].first, group[-1].last)
            chosen = {offset for each in group for offset in range(each.first, each.last + 1)}
            foreign, bare = self._compare(partition, span, chosen)
            rows |= foreign
            records |= bare
        behind = self._behind(partition, high)
        first = begins[0].offset if begins else None
        diverged = joined([*ranges_of(sorted(rows)), *behind])
        return Diverged(tuple(diverged), tuple(ranges_of(sorted(records))), first)

    def _compare(
        self, partition: int, span: OffsetRange, chosen: set[int]
    ) -> tuple[set[int], set[int]]:
        """Of the `chosen` offsets, those with a foreign row, and those without a row of their
        own."""
        stored = self._reconciler.stored(partition, span)
        own = {
            place
            for batch in batches(self._log, partition, span)
            for place in self._reconciler.places(partition, batch)
        }
        foreign = {place.offset for place in stored - own} & chosen
        return foreign, chosen - {place.offset for place in stored & own}

    def _behind(self, partition: int, high: int) -> list[OffsetRange]:
        """Rows behind the log's end, which is asked for after them: it may have grown."""
        found = self._rows.offsets_from(partition, high)
        if not found:
            return []
        end = self._log.end_behind(partition, self._log.span(partition)[1])
        return ranges_of(offset for offset in found if offset >= end)


def first_cut(log: LogReader, partition: int) -> int | None:
    """Where the second leader epoch of a log begins; before it no cut was. None: it has one."""
    low, high = log.span(partition)
    begin = next(_epochs(log, partition, low, high), None)
    return None if begin is None else begin.offset


def _epochs(log: LogReader, partition: int, low: int, high: int) -> Iterator[_Found]:
    """The first record of each leader epoch of the log, but that of the first."""
    begin = _first_from(log, partition, low, high)
    last = _first_from(log, partition, high - 1, high)
    if begin is None or (last is not None and last.epoch == begin.epoch):
        return
    while (following := _next_epoch(log, partition, begin, high)) is not None:
        yield following
        begin = following


def _next_epoch(log: LogReader, partition: int, begin: _Found, high: int) -> _Found | None:
    """The first record of a later epoch than `begin` has; epochs only grow."""
    first, end = begin.offset + 1, high
    found: _Found | None = None
    while first < end:
        middle = (first + end) // 2
        record = _first_from(log, partition, middle, end)
        if record is not None and record.epoch == begin.epoch:
            first = record.offset + 1
        else:
            end, found = middle, record or found
    return found


def _first_from(log: LogReader, partition: int, offset: int, high: int) -> _Found | None:
    """None where there is no record, or the broker tells no epochs."""
    message = next(log.read(partition, max(0, offset), high), None)
    epoch = None if message is None else message.leader_epoch()
    if message is None or epoch is None or epoch < 0:
        return None
    arrived = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    return _Found(message.offset() or 0, epoch, arrived)
