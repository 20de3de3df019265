"""Holds the log against the tables: every offset must be somewhere, once, and every sum be right.

Offsets below the group's committed one are claimed to be stored, dead-dead_lettered or left out as
copies of stored events. What the table lacks of them is looked for in that order; an offset that
the log itself does not hold (the mark of a transaction) lacks nothing, and what is older than the
raw table's retention may have had its row. The order of reading matters: commits first, then rows,
so that a working worker is never taken for a loss.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Final

from usagepipe.consumer.dead_letters.index import DeadLetterIndex
from usagepipe.consumer.log.offset_ranges import (
    OffsetRange,
    joined,
    members,
    near,
    ranges_of,
    size,
    without,
)
from usagepipe.consumer.maintenance.audit_hours import hours_of
from usagepipe.consumer.maintenance.audit_report import Audit, PartitionAudit
from usagepipe.consumer.maintenance.audit_rows import MAX_NAMED, AuditRows
from usagepipe.consumer.maintenance.log_cuts import READ_THROUGH, LogCuts
from usagepipe.consumer.maintenance.parked_partitions import read_parked
from usagepipe.consumer.maintenance.reconcile import Findings, LogRecord, Reconciler, batches
from usagepipe.consumer.maintenance.sequence_audit import SequenceGap, sequence_gaps
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.protocol.announcement import CommitMetadata
from usagepipe.consumer.rollups.comparison_sql import UnsettledOffsets
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.rollups.verification import Difference, RollupVerifier
from usagepipe.consumer.topics.group_offsets import GroupOffset, GroupOffsets
from usagepipe.consumer.topics.log_map import LogMap, map_log
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.errors import RollupsBusyError, UnprovenRawError
from usagepipe.schemas.event import EARLIEST, LATEST
from usagepipe.schemas.settings import StorageSettings

STATEMENT_SECONDS: Final = 300.0


class Auditor:
    """Audits one topic and group. Use it in one thread and close it."""

    def __init__(self, settings: StorageSettings, wait_seconds: float) -> None:
        """Blocks until Kafka answers.

        `wait_seconds` is how long a rollup may be under way before it is told as undecided.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self._settings = settings
        self._wait_seconds = wait_seconds
        self._log = LogReader(settings, settings.topic)
        self._topic_id = self._log.topic_id()
        self._group = GroupOffsets(settings, settings.group)
        self._rows = AuditRows(settings.clickhouse_address, self._topic_id, STATEMENT_SECONDS)
        self._reconciler = Reconciler(
            settings.clickhouse_address,
            settings.topic,
            self._topic_id,
            STATEMENT_SECONDS,
            self._unsettled,
        )
        borders = partial(self._group.epoch_borders, settings.topic)
        self._cuts = LogCuts(self._log, borders, self._rows, self._reconciler)
        self._letters: DeadLetterIndex | None = None

    def close(self) -> None:
        for each in (self._log, self._group, self._rows, self._reconciler):
            each.close()

    def audit(self, *, hours: bool = False) -> Audit:
        """Look at everything once; with `hours`, count by hour too. Changes nothing."""
        self._letters = None  # read when something is missing, and again in the next audit
        committed = self._committed()
        parked = read_parked(self._settings, self._topic_id, committed, STATEMENT_SECONDS)
        partitions = tuple(
            self._partition(number, committed.get(number), parked.get(number))
            for number in self._log.partitions
        )
        if hours:
            partitions = tuple(
                replace(each, hours=hours_of(each, self._log, self._rows)) for each in partitions
            )
        doubled_rows, doubles = self._rows.doubles()
        with connect(self._settings.clickhouse_address) as client:
            compared_from = raw_complete_from(client)
        gaps = self._sequence_gaps(compared_from)
        differences, undecided = self._compare_rollups()
        return Audit(
            self._settings.topic,
            self._topic_id,
            self._settings.group,
            partitions,
            tuple(doubles),
            doubled_rows,
            gaps,
            tuple(differences),
            undecided,
            compared_from,
            self._unconsumed(partitions),
        )

    def _unconsumed(self, partitions: Sequence[PartitionAudit]) -> tuple[int, ...]:
        waiting = [each.partition for each in partitions if each.backlog or each.pending]
        return tuple(self._group.unconsumed(self._settings.topic, waiting))

    def repair(self, audit: Audit, *, trust_raw: bool = False) -> tuple[int, int]:
        """Store what is missing and correct the rollups; the numbers of rows and corrections.

        `trust_raw` takes away from rollups also where raw may have lost rows.

        Raises:
            UnprovenRawError: it would, and `trust_raw` is not given. Nothing was changed.
            RollupsBusyError: the rollups were being written the whole time.
        """
        if audit.lowering and audit.unproven and not trust_raw:
            raise UnprovenRawError(audit.lowering, audit.unproven)
        rows, days = 0, set[datetime]()
        for each in audit.partitions:
            for group in near(each.missing, READ_THROUGH):
                for batch in batches(self._log, each.partition, _around(group)):
                    found = self._reconciler.look(each.partition, _chosen(batch, group))
                    days |= self._reconciler.write(found)
                    rows += len(found.lacking)
        days |= {_day(each.bucket) for each in audit.differences}
        return rows, self._reconciler.heal(days, self._wait_seconds)

    def _committed(self) -> dict[int, GroupOffset]:
        return self._group.read(self._settings.topic, self._log.partitions)

    def _unsettled(self) -> Sequence[UnsettledOffsets]:
        """A partition without a commit has nothing under way: the announcement is a commit."""
        return [
            UnsettledOffsets(self._topic_id, number, committed.offset)
            for number, committed in self._committed().items()
        ]

    def _partition(
        self, number: int, committed: GroupOffset | None, parked: Parked | None
    ) -> PartitionAudit:
        low, decided = self._log.span(number)
        high = max(decided, self._log.ends([number])[number])
        if parked is not None and parked.last >= high:
            high = self._log.end_behind(number, high)
        offset = committed.offset if committed else None
        found = PartitionAudit(number, low, high, offset, parked=parked)
        if committed is None:
            return found
        metadata = CommitMetadata.decode(committed.metadata)
        if metadata is not None and metadata.topic_id != self._topic_id:
            problem = f"the group's offset is of the topic {metadata.topic_id}, which is gone"
            return replace(found, problem=problem)
        if committed.offset > high:
            high = self._log.end_behind(number, high)
            found = replace(found, high=high)
        if committed.offset > high:
            return replace(found, problem=f"committed {committed.offset} beyond the log's end")
        found = replace(found, read_to=self._read_to(found, decided))
        offsets = self._rows.offsets(number, low, found.settled)
        diverged = self._cuts.find(number, low, high)
        bare = _below(diverged.records, found.settled)
        found = replace(
            found,
            stored=offsets.stored - size(bare),
            diverged=diverged.rows,
            doubled=tuple(without(offsets.doubled, _offsets(diverged.rows))),
            pending=_pending(metadata, found),
            expired=self._expired(number, committed.offset, low),
            beyond=self._rows.count(number, 0, low - 1) if low else 0,
            holes=self._holes(number, low),
        )
        absent = offsets.missing
        if bare:
            absent = ranges_of(sorted(_offsets([*absent, *bare])))
        return self._explained(found, absent, diverged.first_cut) if absent else found

    def _read_to(self, found: PartitionAudit, decided: int) -> int:
        """Where the backlog begins: marks and aborted records, which wait for nobody, are none."""
        if found.settled >= decided:
            return found.settled
        waits = next(self._log.read(found.partition, found.settled, decided), None)
        return found.settled if waits is not None else decided

    def _holes(self, number: int, low: int) -> tuple[OffsetRange, ...]:
        """Of the offsets that left the log, those between stored ones that have no row."""
        first = self._rows.first(number) if low else None
        if first is None or first >= low:
            return ()
        absent = self._rows.offsets(number, first, low).missing
        if not absent:
            return ()
        return tuple(without(absent, members(absent, self._dead_letters().offsets(number))))

    def _expired(self, number: int, committed: int, low: int) -> int:
        if committed >= low:
            return 0
        return low - committed - self._rows.count(number, committed, low - 1)

    def _explained(
        self, found: PartitionAudit, absent: list[OffsetRange], first_cut: int | None
    ) -> PartitionAudit:
        """Say of each absent offset why it is absent, or that it is missing."""
        letters = self._letters_of(found.partition, absent, first_cut)
        absent = without(absent, letters)
        copies: list[int] = []
        raw_expired: list[int] = []
        lost: dict[int, str] = {}
        for group in near(absent, READ_THROUGH):
            for batch in batches(self._log, found.partition, _around(group)):
                looked = self._reconciler.look(found.partition, _chosen(batch, group))
                # An event that stands twice among what is absent: none of the two is stored.
                copies += looked.copies
                raw_expired += looked.raw_expired
                lost |= _lost(looked)
        unread = without(absent, [*copies, *raw_expired, *lost])
        why = self._log_map(found, unread)
        marks = without(unread, _offsets([*why.aborted, *why.missing]))
        missing = ranges_of(sorted(lost))
        return replace(
            found,
            letters=tuple(ranges_of(letters)),
            copies=tuple(ranges_of(sorted(copies))),
            marks=tuple(marks),
            aborted=tuple(joined(why.aborted)),
            missing_from_log=tuple(joined(why.missing)),
            missing=tuple(missing),
            missing_ids=dict(sorted(lost.items())[:MAX_NAMED]),
            raw_expired=tuple(ranges_of(sorted(raw_expired))),
        )

    def _letters_of(
        self, partition: int, absent: list[OffsetRange], first_cut: int | None
    ) -> list[int]:
        """The absent offsets whose record has a letter.

        Where the log may have been cut, the letter may be of a record that it lost.
        """
        facts = self._dead_letters()
        found = members(absent, facts.offsets(partition))
        doubtful = [
            offset
            for offset in found
            if first_cut is not None and offset >= first_cut and facts.has_value(partition, offset)
        ]
        sure = set(found) - set(doubtful)
        for group in near(ranges_of(doubtful), READ_THROUGH):
            for batch in batches(self._log, partition, _around(group)):
                sure |= {
                    record.offset
                    for record in _chosen(batch, group)
                    if facts.matches(partition, record.offset, record.value)
                }
        return sorted(sure)

    def _log_map(self, found: PartitionAudit, unread: list[OffsetRange]) -> LogMap:
        if not unread:
            return LogMap()
        settings = self._settings
        return map_log(settings, settings.topic, found.partition, unread)

    def _dead_letters(self) -> DeadLetterIndex:
        if self._letters is None:
            settings = self._settings
            self._letters = DeadLetterIndex.read(
                settings, settings.dead_letter_topic, self._topic_id
            )
        return self._letters

    def _sequence_gaps(self, compared_from: datetime | None) -> tuple[SequenceGap, ...]:
        from_one = compared_from is None
        missing = self._rows.missing_sequences(from_one)
        # No row has the offset of a gap record: if there is one, the letters are read by now.
        letters = self._dead_letters() if missing else self._letters or DeadLetterIndex()
        stored = self._rows.stored_sequences(letters.reporting_producers, from_one)
        return sequence_gaps(missing, stored, letters, compared_from)

    def _compare_rollups(self) -> tuple[list[Difference], str]:
        verifier = RollupVerifier(self._settings.clickhouse_address, STATEMENT_SECONDS)
        with closing(verifier):
            try:
                return (
                    verifier.differences(
                        EARLIEST, LATEST, self._wait_seconds, unsettled=self._unsettled
                    ),
                    "",
                )
            except RollupsBusyError as error:
                return [], str(error)


def _offsets(ranges: Iterable[OffsetRange]) -> Iterator[int]:
    return chain.from_iterable(range(each.first, each.last + 1) for each in ranges)


def _below(ranges: Iterable[OffsetRange], end: int) -> list[OffsetRange]:
    return [OffsetRange(each.first, min(each.last, end - 1)) for each in ranges if each.first < end]


def _lost(looked: Findings) -> dict[int, str]:
    """What is nowhere: its event, or why it is none and should have a letter."""
    lost = {each.offset: each.event_id for each in looked.lacking}
    return lost | {each.record.offset: f"no event ({each.reason})" for each in looked.rejected}


def _pending(metadata: CommitMetadata | None, found: PartitionAudit) -> tuple[OffsetRange, ...]:
    """The announced range, as far as it lies in the log behind what is settled."""
    if metadata is None or metadata.pending is None:
        return ()
    first = max(metadata.pending.first, found.settled)
    last = min(metadata.pending.last, found.high - 1)
    return (OffsetRange(first, last),) if first <= last else ()


def _chosen(batch: Sequence[LogRecord], ranges: Sequence[OffsetRange]) -> list[LogRecord]:
    records = {record.offset: record for record in batch}
    return [records[offset] for offset in members(ranges, records)]


def _around(group: Sequence[OffsetRange]) -> OffsetRange:
    return OffsetRange(group[0].first, group[-1].last)


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
