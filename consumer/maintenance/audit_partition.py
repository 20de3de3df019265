"""Accounts for every offset of a partition: stored, explained, waiting, or missing.

Offsets below the group's committed offset must be stored, dead-lettered, or skipped as duplicates
of stored events. Those without a row are looked for in that order. An offset without a record (a
control record of a transaction) lacks nothing, and a record older than the raw table's retention
may have had its row.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from usagepipe.consumer.dead_letters.index import LazyDeadLetterIndex
from usagepipe.consumer.log.offset_ranges import (
    OffsetRange,
    joined,
    members,
    offsets_of,
    ranges_of,
    size,
    without,
)
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.maintenance.audit_queries import MAX_NAMED, AuditQueries
from usagepipe.consumer.maintenance.audit_result import PartitionAudit
from usagepipe.consumer.maintenance.consumed_topic import ConsumedTopic
from usagepipe.consumer.maintenance.log_records import read_records
from usagepipe.consumer.maintenance.log_truncation import TruncationFinder
from usagepipe.consumer.maintenance.row_repair import Findings, RowRepair
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.protocol.announcement import CommitMetadata
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics.log_map import LogMap, map_log


@dataclass(slots=True)
class PartitionAuditor:
    """Audits the partitions of one topic, in one thread."""

    topic: ConsumedTopic
    queries: AuditQueries
    repair: RowRepair
    truncations: TruncationFinder
    dead_letters: LazyDeadLetterIndex

    def audit(
        self, number: int, committed: Position | None, parked: Parked | None
    ) -> PartitionAudit:
        """Account for all offsets of the partition. `committed` was read before anything else."""
        log = self.topic.log
        low, decided = log.span(number)
        high = max(decided, log.ends([number])[number])
        if parked is not None and parked.last >= high:
            high = log.end_after(number, high)
        offset = committed.offset if committed else None
        found = PartitionAudit(number, low, high, offset, parked=parked)
        if committed is None:
            return found
        metadata = CommitMetadata.decode(committed.metadata)
        if metadata is not None and metadata.topic_id != self.topic.topic_id:
            problem = f"the group's offset belongs to the deleted topic with id {metadata.topic_id}"
            return replace(found, problem=problem)
        if committed.offset > high:
            high = log.end_after(number, high)
            found = replace(found, high=high)
        if committed.offset > high:
            problem = f"the committed offset {committed.offset} is beyond the log's end"
            return replace(found, problem=problem)
        found = replace(found, read_to=self._read_to(found, decided))
        return self._account(replace(found, pending=_pending(metadata, found)))

    def _account(self, found: PartitionAudit) -> PartitionAudit:
        number, low, committed = found.partition, found.low, found.committed or 0
        offsets = self.queries.offsets(number, low, found.settled)
        diverged = self.truncations.find(number, low, found.high)
        unstored = _below(diverged.unstored, found.settled)
        found = replace(
            found,
            stored=offsets.stored - size(unstored),
            diverged=diverged.rows,
            doubled=tuple(without(offsets.doubled, offsets_of(diverged.rows))),
            expired=self._expired(number, committed, low),
            beyond=self.queries.count(number, 0, low - 1) if low else 0,
            holes=self._holes(number, low),
        )
        absent = offsets.missing
        if unstored:
            absent = ranges_of(sorted(offsets_of([*absent, *unstored])))
        return self._explain(found, absent, diverged.first_truncation) if absent else found

    def _read_to(self, found: PartitionAudit, decided: int) -> int:
        """Where the backlog begins: control records and aborted records are no backlog."""
        if found.settled >= decided:
            return found.settled
        waiting = next(self.topic.log.read(found.partition, found.settled, decided), None)
        return found.settled if waiting is not None else decided

    def _holes(self, number: int, low: int) -> tuple[OffsetRange, ...]:
        """Offsets that have left the log, and have no row, between offsets with rows."""
        first = self.queries.first(number) if low else None
        if first is None or first >= low:
            return ()
        absent = self.queries.offsets(number, first, low).missing
        if not absent:
            return ()
        dead_letters = members(absent, self.dead_letters.get().offsets(number))
        return tuple(without(absent, dead_letters))

    def _expired(self, number: int, committed: int, low: int) -> int:
        if committed >= low:
            return 0
        return low - committed - self.queries.count(number, committed, low - 1)

    def _explain(
        self, found: PartitionAudit, absent: list[OffsetRange], first_truncation: int | None
    ) -> PartitionAudit:
        """Say why each absent offset is absent, or that it is missing."""
        dead_letters = self._dead_letters(found.partition, absent, first_truncation)
        absent = without(absent, dead_letters)
        duplicates: list[int] = []
        raw_expired: list[int] = []
        lost: dict[int, str] = {}
        for records in read_records(self.topic.log, found.partition, absent):
            compared = self.repair.compare(found.partition, records)
            # If an event stands twice among the absent offsets, none of the two is stored.
            duplicates += compared.duplicates
            raw_expired += compared.raw_expired
            lost |= _lost(compared)
        without_record = without(absent, [*duplicates, *raw_expired, *lost])
        log_map = LogMap()
        if without_record:
            place = TopicPartition(self.topic.settings.topic, found.partition)
            log_map = map_log(self.topic.settings, place, without_record)
        control_records = without(without_record, offsets_of([*log_map.aborted, *log_map.missing]))
        return replace(
            found,
            dead_letters=tuple(ranges_of(dead_letters)),
            duplicates=tuple(ranges_of(sorted(duplicates))),
            control_records=tuple(control_records),
            aborted=tuple(joined(log_map.aborted)),
            missing_from_log=tuple(joined(log_map.missing)),
            missing=tuple(ranges_of(sorted(lost))),
            missing_ids=dict(sorted(lost.items())[:MAX_NAMED]),
            raw_expired=tuple(ranges_of(sorted(raw_expired))),
        )

    def _dead_letters(
        self, partition: int, absent: list[OffsetRange], first_truncation: int | None
    ) -> list[int]:
        """The absent offsets whose record has a dead letter.

        After a truncation, the dead letter may be of a record that the log has lost, so its value
        is compared.
        """
        index = self.dead_letters.get()
        offsets = members(absent, index.offsets(partition))
        uncertain = [
            offset
            for offset in offsets
            if first_truncation is not None
            and offset >= first_truncation
            and index.has_value(partition, offset)
        ]
        certain = set(offsets) - set(uncertain)
        for records in read_records(self.topic.log, partition, ranges_of(uncertain)):
            certain |= {
                record.offset
                for record in records
                if index.matches(partition, record.offset, record.value)
            }
        return sorted(certain)


def _below(ranges: Iterable[OffsetRange], end: int) -> list[OffsetRange]:
    return [OffsetRange(each.first, min(each.last, end - 1)) for each in ranges if each.first < end]


def _lost(found: Findings) -> dict[int, str]:
    """Offsets that are nowhere: the event's id, or why the record needs a dead letter."""
    lost = {each.offset: each.event_id for each in found.missing}
    return lost | {each.record.offset: f"no event ({each.reason})" for each in found.rejected}


def _pending(metadata: CommitMetadata | None, found: PartitionAudit) -> tuple[OffsetRange, ...]:
    """The part of the announced range that is in the log and not settled."""
    if metadata is None or metadata.pending is None:
        return ()
    first = max(metadata.pending.first, found.settled)
    last = min(metadata.pending.last, found.high - 1)
    return (OffsetRange(first, last),) if first <= last else ()
