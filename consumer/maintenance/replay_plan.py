"""What a replay shall read, how far it may read, and where an interrupted one resumes."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from usagepipe.consumer.maintenance.row_repair import Findings
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics.log_reader import LogReader

_FORM: Final = 1  # version of the progress metadata


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Which records: of all partitions or one, by offset or by time of arrival.

    `end` and `end_offset` are exclusive. None means no bound.
    """

    partition: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    start_offset: int | None = None
    end_offset: int | None = None


@dataclass(frozen=True, slots=True)
class ReplayPart:
    """The offsets of one partition to replay: `first` … `end` - 1, none if they are equal.

    `requested_end` is set if the workers have not committed that far. `resumed` is set if an
    earlier run has replayed the offsets before `first`.
    """

    partition: int
    first: int
    end: int
    requested_end: int | None = None
    resumed: bool = False

    @property
    def offsets(self) -> int:
        return max(0, self.end - self.first)


@dataclass(slots=True)
class ReplayCounts:
    """Records that a replay has read, by result."""

    stored: int = 0  # before the replay
    duplicates: int = 0  # the event is stored at another place
    rejected: int = 0  # not an event, or refused by ClickHouse
    written: int = 0  # in a dry run: missing
    raw_expired: int = 0  # may have been stored before its row expired: left alone
    rebuilt: int = 0  # rows added to rollups
    days: set[datetime] = field(default_factory=set)  # whose rollups are not rebuilt yet

    @property
    def records(self) -> int:
        """All of them."""
        return self.stored + self.duplicates + self.rejected + self.written + self.raw_expired

    def add(self, found: Findings) -> None:
        self.stored += found.stored
        self.duplicates += len(found.duplicates)
        self.rejected += len(found.rejected) + found.dead_lettered
        self.written += len(found.missing)
        self.raw_expired += len(found.raw_expired)


def plan_part(
    log: LogReader, number: int, request: ReplayRequest, committed: Position | None
) -> ReplayPart:
    """The part of one partition, cut to what the workers have committed."""
    low, high = log.span(number)
    if committed is not None and committed.offset > high:
        high = log.end_after(number, high)

    def bound(offset: int | None, moment: datetime | None, default: int) -> int:
        if offset is not None:
            return offset
        if moment is None:
            return default
        found = log.first_since(number, moment)
        return high if found is None else found

    first = max(low, bound(request.start_offset, request.start, low))
    end = min(high, bound(request.end_offset, request.end, high))
    # Without a commit no offset is known to be stored: the workers will store all of them.
    limit = committed.offset if committed else low
    if end <= limit:
        return ReplayPart(number, first, max(first, end))
    return ReplayPart(number, first, max(first, limit), requested_end=end)


def progress_metadata(topic_id: str, request: ReplayRequest, *, ended: bool) -> str:
    """Commit metadata of the progress group: the progress belongs to this topic and range alone."""
    metadata = {
        "usagepipe_replay": _FORM,
        "topic_id": topic_id,
        "wanted": [
            request.start.isoformat() if request.start else None,
            request.end.isoformat() if request.end else None,
            request.start_offset,
            request.end_offset,
        ],
        "ended": ended,
    }
    return json.dumps(metadata)


def resume(part: ReplayPart, progress: Position | None, interrupted: str) -> ReplayPart:
    """The part without what an interrupted run with this metadata has replayed.

    Metadata of other tools is different, and some brokers keep none.
    """
    if progress is None or progress.metadata != interrupted:
        return part
    if not part.first < progress.offset < part.end:
        return part
    return replace(part, first=progress.offset, resumed=True)
