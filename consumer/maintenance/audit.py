"""Compares the log with the tables: every offset must be somewhere, once, and every sum be right.

The order of reading matters. Committed offsets are read first and rows later, so that a running
worker is never mistaken for a loss.
"""

from datetime import datetime

from usagepipe.consumer.dead_letters.index import DeadLetterIndex, LazyDeadLetterIndex
from usagepipe.consumer.maintenance.audit_partition import PartitionAuditor
from usagepipe.consumer.maintenance.audit_queries import AuditQueries
from usagepipe.consumer.maintenance.audit_result import Audit, PartitionAudit
from usagepipe.consumer.maintenance.audit_sequences import SequenceGap, sequence_gaps
from usagepipe.consumer.maintenance.consumed_topic import ConsumedTopic
from usagepipe.consumer.maintenance.log_records import read_records
from usagepipe.consumer.maintenance.log_truncation import TruncationFinder
from usagepipe.consumer.maintenance.row_repair import RowRepair, start_of_day
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.rollups.verification import Difference
from usagepipe.schemas.errors import RollupsBusyError, UnprovenRawError
from usagepipe.schemas.settings import StorageSettings


class Auditor:
    """Audits one topic and group. Use it in one thread and close it."""

    def __init__(self, settings: StorageSettings, wait_seconds: float) -> None:
        """Blocks until Kafka answers.

        `wait_seconds` is the longest wait for rollups that are being written.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self._settings = settings
        self._wait_seconds = wait_seconds
        self._topic = ConsumedTopic(settings)
        self._queries = AuditQueries(self._topic.client, self._topic.topic_id)
        self._repair = RowRepair(self._topic)

    def close(self) -> None:
        self._topic.close()
        self._repair.close()

    def audit(self) -> Audit:
        """Look at everything once. Changes nothing."""
        dead_letters = LazyDeadLetterIndex(self._settings, self._topic.topic_id)
        partitions = self._partitions(dead_letters)
        extra_rows, stored_twice = self._queries.stored_twice()
        compared_from = raw_complete_from(self._topic.client.get())
        gaps = self._sequence_gaps(dead_letters, compared_from)
        differences, undecided = self._compare_rollups()
        waiting = [each.partition for each in partitions if each.waiting]
        return Audit(
            self._settings.topic,
            self._topic.topic_id,
            self._settings.group,
            partitions,
            tuple(stored_twice),
            extra_rows,
            gaps,
            tuple(differences),
            undecided,
            compared_from,
            tuple(self._topic.group.unconsumed(self._settings.topic, waiting)),
        )

    def repair(self, audit: Audit, *, trust_raw: bool = False) -> tuple[int, int]:
        """Store missing rows and rebuild rollups; returns the numbers of rows stored and added.

        `trust_raw` lowers rollups also where raw may have lost rows.

        Raises:
            UnprovenRawError: this would lower rollups, and `trust_raw` is false. Nothing changed.
            RollupsBusyError: the rollups were being written the whole time.
        """
        if audit.lowered_keys and audit.unproven and not trust_raw:
            raise UnprovenRawError(audit.lowered_keys, audit.unproven)
        rows, days = 0, set[datetime]()
        for each in audit.partitions:
            for records in read_records(self._topic.log, each.partition, each.missing):
                found = self._repair.compare(each.partition, records)
                days |= self._repair.store_missing(found)
                rows += len(found.missing)
        days |= {start_of_day(each.bucket) for each in audit.differences}
        return rows, self._repair.rebuild_rollups(days, self._wait_seconds)

    def _partitions(self, dead_letters: LazyDeadLetterIndex) -> tuple[PartitionAudit, ...]:
        truncations = TruncationFinder(self._topic, self._queries, self._repair)
        auditor = PartitionAuditor(
            self._topic, self._queries, self._repair, truncations, dead_letters
        )
        committed = self._topic.committed()
        parked = {number: each for number, (each, _) in self._topic.parked(committed).items()}
        return tuple(
            auditor.audit(number, committed.get(number), parked.get(number))
            for number in self._topic.log.partitions
        )

    def _sequence_gaps(
        self, dead_letters: LazyDeadLetterIndex, compared_from: datetime | None
    ) -> tuple[SequenceGap, ...]:
        from_one = compared_from is None
        missing = self._queries.missing_sequences(from_one)
        # No row has the offset of a gap record, so if there is one the index was read by now.
        is_needed = missing or dead_letters.is_read
        index = dead_letters.get() if is_needed else DeadLetterIndex()
        stored = self._queries.stored_sequences(index.reporting_producers, from_one)
        return sequence_gaps(missing, stored, index, compared_from)

    def _compare_rollups(self) -> tuple[list[Difference], str]:
        try:
            return self._repair.rollup_differences(self._wait_seconds), ""
        except RollupsBusyError as error:
            return [], str(error)
