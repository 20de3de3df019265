"""What an audit found, as values: for each partition, and for all rows.

These values decide whether the audit balances. Offsets that may still be stored (a backlog, an
announced range) are no loss. A parked partition does not balance, because it waits for an operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from usagepipe.consumer.log.offset_ranges import OffsetRange, size
from usagepipe.consumer.maintenance.audit_queries import StoredTwice
from usagepipe.consumer.maintenance.audit_sequences import SequenceGap
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.rollups.verification import Difference


@dataclass(frozen=True, slots=True)
class PartitionAudit:
    """The offsets `low` … `high` - 1 of a partition, and where each of them is.

    `log` = `stored` + `dead_letters` + `duplicates` + `control_records` + `aborted` + `pending` +
    `backlog` + `missing` + `missing_from_log` + `raw_expired`.
    """

    partition: int
    low: int
    high: int
    committed: int | None
    read_to: int = 0  # from the committed offset to here the log has no record for a worker
    stored: int = 0  # below the committed offset
    dead_letters: tuple[OffsetRange, ...] = ()
    duplicates: tuple[OffsetRange, ...] = ()  # skipped: the event is stored at another place
    control_records: tuple[OffsetRange, ...] = ()  # of transactions
    aborted: tuple[OffsetRange, ...] = ()  # records of aborted transactions
    # Not stored, and no longer in the log, which has later records: compaction or damage.
    missing_from_log: tuple[OffsetRange, ...] = ()
    # The stored events are not those of the log: it was truncated and gave the offsets again.
    diverged: tuple[OffsetRange, ...] = ()
    pending: tuple[OffsetRange, ...] = ()  # announced by a worker
    missing: tuple[OffsetRange, ...] = ()
    missing_ids: Mapping[int, str] = field(default_factory=dict)  # of the first missing offsets
    raw_expired: tuple[OffsetRange, ...] = ()  # so old that a stored row may have expired
    doubled: tuple[OffsetRange, ...] = ()  # stored more than once
    expired: int = 0  # offsets that left the log before they were committed
    beyond: int = 0  # stored, and no longer in the log
    # Between those `beyond`, without row or dead letter: duplicates, control records or losses.
    holes: tuple[OffsetRange, ...] = ()
    parked: Parked | None = None  # its range, and all after it, waits for an operator
    problem: str = ""

    @property
    def log(self) -> int:
        return self.high - self.low

    @property
    def settled(self) -> int:
        """The end of the offsets that must be accounted for."""
        return min(max(self.committed or 0, self.read_to, self.low), self.high)

    @property
    def backlog(self) -> int:
        return self.waiting - size(self.pending)

    @property
    def waiting(self) -> int:
        """Offsets that are not stored yet."""
        return self.high - self.settled

    @property
    def balances(self) -> bool:
        return not (
            self.missing
            or self.missing_from_log
            or self.diverged
            or self.doubled
            or self.expired
            or self.problem
            or self.parked
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. `balances` is its answer."""

    topic: str
    topic_id: str
    group: str
    partitions: tuple[PartitionAudit, ...]
    stored_twice: tuple[StoredTwice, ...]  # the first events that are stored more than once
    extra_rows: int  # beyond one for each event
    gaps: tuple[SequenceGap, ...]
    differences: tuple[Difference, ...]
    undecided: str  # why the rollups could not be compared; empty if they were
    compared_from: datetime | None  # from here on raw is complete; None: it has all
    unconsumed: tuple[int, ...] = ()  # partitions with waiting records that no member consumes

    @property
    def waiting(self) -> int:
        """Offsets that are not stored yet."""
        return sum(each.waiting for each in self.partitions)

    @property
    def gaps_count(self) -> bool:
        """Whether a gap is a loss: events that are not stored, or no longer, may fill it."""
        lacking = any(
            each.missing or each.missing_from_log or each.raw_expired for each in self.partitions
        )
        return any(gap.lost for gap in self.gaps) and not self.waiting and not lacking

    @property
    def unproven(self) -> tuple[int, ...]:
        """Partitions of which raw may lack rows that the log can no longer show."""
        return tuple(each.partition for each in self.partitions if each.holes or each.problem)

    @property
    def lowered_keys(self) -> int:
        """How many keys of rollups hold more than raw, so a repair would lower them."""
        return sum(any(n < 0 for n in each.missing.values()) for each in self.differences)

    @property
    def balances(self) -> bool:
        return not (
            self.extra_rows or self.differences or self.undecided or self.gaps_count
        ) and all(each.balances for each in self.partitions)
