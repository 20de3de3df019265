"""A parked partition: which range waits, why, and what an operator can do.

A partition is parked when more of its records are refused than the limits on dead letters allow.
Reports hold offsets, reasons and counts, never the content of a record.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

from usagepipe import __version__
from usagepipe.consumer.log.offset_ranges import OffsetRange
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.limits import (
    LEAST_RECORDS,
    RATIO_VARIABLE,
    RUN_VARIABLE,
    DeadLetterLimits,
    Excess,
)
from usagepipe.consumer.rows.rows import Rejected

SAMPLES: Final = 3  # of each reason


class Sample(NamedTuple):
    """A refused record: its offset, and the rule that it broke."""

    offset: int
    detail: str


@dataclass(slots=True)
class Reason:
    """The count of refused records with one reason, and the first of them."""

    count: int = 0
    samples: list[Sample] = field(default_factory=list)

    def add(self, rejected: Rejected) -> None:
        self.count += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(Sample(rejected.record.offset, rejected.detail))


@dataclass(frozen=True, slots=True)
class Report:
    """Why a partition is parked. `records` is the number of records in the range."""

    records: int
    reasons: Mapping[str, Reason]
    excess: Excess
    limits: DeadLetterLimits
    version: str  # of the usagepipe that refused the records

    @classmethod
    def of(
        cls, records: int, rejected: Iterable[Rejected], excess: Excess, limits: DeadLetterLimits
    ) -> Self:
        reasons: dict[str, Reason] = {}
        for each in rejected:
            reasons.setdefault(each.reason, Reason()).add(each)
        return cls(records, reasons, excess, limits, __version__)

    @property
    def refused(self) -> int:
        """How many records of the range are refused."""
        return sum(reason.count for reason in self.reasons.values())


@dataclass(frozen=True, slots=True)
class Parked:
    """The parked offsets `first` … `last` of a partition; none of them is committed."""

    partition: TopicPartition
    topic_id: str
    first: int
    last: int
    report: Report
    since: datetime | None = None
    worker: str = ""
    noted_at: datetime | None = None  # by ClickHouse's clock; None: no note yet

    @property
    def range(self) -> OffsetRange:
        return OffsetRange(self.first, self.last)

    @property
    def why(self) -> str:
        """One sentence: the counts by reason, and each exceeded limit."""
        report, excess = self.report, self.report.excess
        counts = ", ".join(f"{name} {each.count:,}" for name, each in report.reasons.items())
        run, ratio = report.limits.run, report.limits.ratio
        exceeded = []
        if excess.run > run:
            exceeded.append(f"{excess.run:,} in a row, and {RUN_VARIABLE} is {run:,}")
        if excess.ratio > ratio:
            found = f"{excess.refused:,} of the last {excess.records:,}"
            exceeded.append(f"{found}, and {RATIO_VARIABLE} is {ratio}")
        return (
            f"{report.refused:,} of {report.records:,} records are refused ({counts}):"
            f" {'; '.join(exceeded)}."
        )

    @property
    def cure(self) -> str:
        """What an operator can do."""
        number = self.partition.partition
        return (
            "Nothing is lost: the records stay on the topic, and none of them is a dead letter "
            "yet. Find out who sends them. Then release the partition: usagepipe dlq release "
            f"{number} --retry reads the records again (after the worker or a table is fixed); "
            f"usagepipe dlq release {number} --letters turns the refused ones into dead letters. "
            f"Workers that start with a higher {RUN_VARIABLE} or {RATIO_VARIABLE} try again by "
            "themselves."
        )

    def fields(self) -> dict[str, Any]:
        """The fields of `/health` and of `--json`."""
        report, excess = self.report, self.report.excess
        return {
            "topic": self.partition.topic,
            "topic_id": self.topic_id,
            "partition": self.partition.partition,
            "first_offset": self.first,
            "last_offset": self.last,
            "since": as_text(self.since),
            "worker": self.worker or None,
            "records": report.records,
            "refused": report.refused,
            "reasons": {
                name: {
                    "count": reason.count,
                    "samples": [sample._asdict() for sample in reason.samples],
                }
                for name, reason in report.reasons.items()
            },
            "limits": {
                RUN_VARIABLE: {"limit": report.limits.run, "found": excess.run},
                RATIO_VARIABLE: {
                    "limit": report.limits.ratio,
                    "found": round(excess.refused / max(1, excess.records), 4),
                    "of_records": excess.records,
                    "least_records": LEAST_RECORDS,
                },
            },
            "why": self.why,
            "what_to_do": self.cure,
        }


class ParkedError(Exception):
    """A batch exceeds a limit on dead letters: park its partition before it."""

    def __init__(self, parked: Parked) -> None:
        self.parked = parked
        super().__init__(f"{parked.partition}@{parked.range}")


def as_text(moment: datetime | None) -> str | None:
    """An RFC 3339 time in UTC, with milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
