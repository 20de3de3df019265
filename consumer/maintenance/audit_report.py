"""What an audit found, as values: per partition, per hour, and of all rows.

Whether it balances is decided here. What may still be on its way (a backlog, an announced range)
is no loss; what waits in a parked partition does not balance, since it waits for an operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from usagepipe.consumer.log.offset_ranges import OffsetRange, size
from usagepipe.consumer.maintenance.audit_rows import Double
from usagepipe.consumer.maintenance.sequence_audit import SequenceGap
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.rollups.verification import Difference


@dataclass(frozen=True, slots=True)
class HourAudit:
    """The same counts of one hour of a partition, by the records' arrival."""

    hour: datetime
    log: int
    stored: int
    letters: int
    copies: int
    marks: int
    pending: int
    backlog: int
    missing: int
    raw_expired: int
    aborted: int
    missing_from_log: int


@dataclass(frozen=True, slots=True)
class PartitionAudit:
    """The offsets `low` … `high` - 1 of a partition, and where each of them is.

    `log` = `stored` + `letters` + `copies` + `marks` + `aborted` + `pending` + `backlog` +
    `missing` + `missing_from_log` + `raw_expired`.
    """

    partition: int
    low: int
    high: int
    committed: int | None
    read_to: int = 0  # from the committed offset to here the log has no record for a worker
    stored: int = 0  # below the committed offset
    letters: tuple[OffsetRange, ...] = ()
    copies: tuple[OffsetRange, ...] = ()  # left out: the event is stored at another place
    marks: tuple[OffsetRange, ...] = ()  # of transactions: no records
    aborted: tuple[OffsetRange, ...] = ()  # records that a transaction took back
    # Not stored, and the log has no record there any more, though it has later ones: compaction.
    missing_from_log: tuple[OffsetRange, ...] = ()
    # Stored are other events than the log has there: it lost its end, and gave its offsets again.
    diverged: tuple[OffsetRange, ...] = ()
    pending: tuple[OffsetRange, ...] = ()  # announced by a worker
    missing: tuple[OffsetRange, ...] = ()
    missing_ids: Mapping[int, str] = field(default_factory=dict)  # the first ones
    # Older than what raw keeps: that they were stored, and their rows have left, is not disproved.
    raw_expired: tuple[OffsetRange, ...] = ()
    doubled: tuple[OffsetRange, ...] = ()  # stored more than once
    expired: int = 0  # offsets that the log lost before they were committed
    beyond: int = 0  # stored, and no longer in the log
    # Among those `beyond`, offsets without a row or a letter: copies, marks, or rows that got lost.
    holes: tuple[OffsetRange, ...] = ()
    parked: Parked | None = None  # its range, and all after it, waits for an operator
    problem: str = ""
    hours: tuple[HourAudit, ...] = ()

    @property
    def log(self) -> int:
        return self.high - self.low

    @property
    def settled(self) -> int:
        """The end of the offsets that must be accounted for."""
        return min(max(self.committed or 0, self.read_to, self.low), self.high)

    @property
    def backlog(self) -> int:
        return self.high - self.settled - size(self.pending)

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
    doubles: tuple[Double, ...]
    doubled_rows: int
    gaps: tuple[SequenceGap, ...]
    differences: tuple[Difference, ...]
    undecided: str  # why the rollups could not be compared; empty if they were
    compared_from: datetime | None  # raw is not whole before
    unconsumed: tuple[int, ...] = ()  # partitions with waiting records that no member consumes

    @property
    def waiting(self) -> int:
        """Offsets that are not stored yet."""
        return sum(each.backlog + size(each.pending) for each in self.partitions)

    @property
    def has_backlog(self) -> bool:
        return any(each.backlog or each.pending for each in self.partitions)

    @property
    def gaps_count(self) -> bool:
        """Whether any of the gaps is a loss: what is not stored (any more) may hold the numbers."""
        lacking = any(
            each.missing or each.missing_from_log or each.raw_expired for each in self.partitions
        )
        return any(gap.lost for gap in self.gaps) and not self.has_backlog and not lacking

    @property
    def unproven(self) -> tuple[int, ...]:
        """Partitions of which raw may lack rows that the log can no longer tell."""
        return tuple(each.partition for each in self.partitions if each.holes or each.problem)

    @property
    def lowering(self) -> int:
        """How many keys of rollups hold more than raw."""
        return sum(any(n < 0 for n in each.missing.values()) for each in self.differences)

    @property
    def balances(self) -> bool:
        return not (
            self.doubled_rows or self.differences or self.undecided or self.gaps_count
        ) and all(each.balances for each in self.partitions)
