"""Finds rows of events that the log no longer has: it lost its end, and gave its offsets again.

After such a loss another leader epoch begins, at the offset where the log was cut. So rows from
there on that arrived before it began are of the lost records. Brokers' clocks differ, so what
arrived near that moment is compared with the log, event by event; nothing else is read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from usagepipe.consumer.log.offset_ranges import OffsetRange, joined, near, ranges_of
from usagepipe.consumer.maintenance.audit_rows import AuditRows
from usagepipe.consumer.maintenance.reconcile import Reconciler, batches
from usagepipe.consumer.topics.log_reader import LogReader

CLOCKS_APART: Final = timedelta(seconds=10)  # of two brokers
READ_THROUGH: Final = 5_000  # offsets between two that are read together


@dataclass(frozen=True, slots=True)
class Diverged:
    """Offsets of a partition where table and log tell of different events."""

    rows: tuple[OffsetRange, ...] = ()  # there is a row of an event that the log has not there
    records: tuple[OffsetRange, ...] = ()  # among them, those whose record has no row of its own
    first_cut: int | None = None  # where the second leader epoch begins; before it no cut was


# The offsets of a partition between two others where a leader epoch begins; None: nobody knows.
Borders = Callable[[int, int, int], Sequence[int] | None]


class _Found(NamedTuple):
    """The first record at or after an offset."""

    offset: int
    epoch: int


class LogCuts:
    """Compares one topic's log with its rows. Use it in one thread."""

    def __init__(
        self, log: LogReader, borders: Borders, rows: AuditRows, reconciler: Reconciler
    ) -> None:
        self._log = log
        self._borders = borders
        self._rows = rows
        self._reconciler = reconciler

    def find(self, partition: int, low: int, high: int) -> Diverged:
        """What diverges from `low` on, of a log that ends at `high`."""
        begins = _begins(self._log, self._borders, partition, low, high)
        suspects = sorted(
            {
                offset
                for begin, arrived in self._arrivals(partition, begins)
                for offset in self._rows.arrived_before(
                    partition, begin, high, arrived + CLOCKS_APART
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
        first = begins[0] if begins else None
        diverged = joined([*ranges_of(sorted(rows)), *behind])
        return Diverged(tuple(diverged), tuple(ranges_of(sorted(records))), first)

    def _arrivals(self, partition: int, offsets: Sequence[int]) -> Iterator[tuple[int, datetime]]:
        """The offsets with the time when the record there, or the next one, arrived."""
        if not offsets:
            return
        _, decided = self._log.span(partition)
        for offset in offsets:
            message = next(self._log.read(partition, offset, decided), None)
            if message is not None:
                yield offset, datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)

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


def first_cut(log: LogReader, borders: Borders, partition: int) -> int | None:
    """Where the second leader epoch of a log begins; before it no cut was. None: it has one."""
    begins = _begins(log, borders, partition, *log.span(partition))
    return begins[0] if begins else None


def _begins(log: LogReader, borders: Borders, partition: int, low: int, high: int) -> Sequence[int]:
    """Where each leader epoch of the log begins, but the first."""
    found = borders(partition, low, high)
    return [*_epochs(log, partition, low, high)] if found is None else found


def _epochs(log: LogReader, partition: int, low: int, high: int) -> Iterator[int]:
    """The same, found by reading: for a broker that cannot be asked."""
    begin = _first_from(log, partition, low, high)
    last = _first_from(log, partition, high - 1, high)
    if begin is None or (last is not None and last.epoch == begin.epoch):
        return
    while (following := _next_epoch(log, partition, begin, high)) is not None:
        yield following.offset
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
    return _Found(message.offset() or 0, epoch)
