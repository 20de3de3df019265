"""Counts an audited partition by the hours in which its records arrived."""

from datetime import UTC, datetime, timedelta
from typing import Final

from usagepipe.consumer.log.offset_ranges import within
from usagepipe.consumer.maintenance.audit_report import HourAudit, PartitionAudit
from usagepipe.consumer.maintenance.audit_rows import AuditRows
from usagepipe.consumer.topics.log_reader import LogReader

_HOUR: Final = timedelta(hours=1)


def hours_of(found: PartitionAudit, log: LogReader, rows: AuditRows) -> tuple[HourAudit, ...]:
    """Each hour of the partition in which records arrived."""
    starts = _hour_bounds(found, log)
    if not starts:
        return ()
    bounds = [offset for _, offset in starts]
    stored = rows.by_bounds(found.partition, bounds, found.settled)
    ends = [*bounds[1:], found.high]
    return tuple(
        _hour(found, hour, first, end, stored.get(first, 0))
        for (hour, first), end in zip(starts, ends, strict=True)
        if end > first
    )


def _hour_bounds(found: PartitionAudit, log: LogReader) -> list[tuple[datetime, int]]:
    """The hours in which records arrived, each with its first offset; in order."""
    bounds: list[tuple[datetime, int]] = []
    begin: int | None = found.low
    while begin is not None and (hour := _hour_at(found, log, begin)):
        bounds.append((hour, begin))
        begin = log.first_since(found.partition, hour + _HOUR)
        if begin is not None and begin <= bounds[-1][1]:
            break  # not in the order of time: a topic that keeps its producers' times
    return bounds


def _hour_at(found: PartitionAudit, log: LogReader, begin: int) -> datetime | None:
    """The hour in which the first record at or after `begin` arrived; None: there is none."""
    message = next(log.read(found.partition, begin, found.high), None)
    if message is None:
        return None
    seconds = message.timestamp()[1] // 3_600_000 * 3_600
    return datetime.fromtimestamp(seconds, UTC)


def _hour(found: PartitionAudit, hour: datetime, first: int, end: int, stored: int) -> HourAudit:
    pending = within(found.pending, first, end)
    settled = min(max(found.settled, first), end)
    return HourAudit(
        hour,
        end - first,
        stored,
        within(found.letters, first, end),
        within(found.copies, first, end),
        within(found.marks, first, end),
        pending,
        end - settled - pending,
        within(found.missing, first, end),
        within(found.raw_expired, first, end),
        within(found.aborted, first, end),
        within(found.missing_from_log, first, end),
    )
