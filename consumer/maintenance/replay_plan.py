"""What a replay shall read, how far it may read, and where an interrupted one resumes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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

    def name(self) -> list[str | int | None]:
        """Identifies the range: saved progress belongs to this range alone."""
        return [
            self.start.isoformat() if self.start else None,
            self.end.isoformat() if self.end else None,
            self.start_offset,
            self.end_offset,
        ]


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

    records: int = 0
    stored: int = 0  # before the replay
    duplicates: int = 0  # the event is stored at another place
    rejected: int = 0  # not an event, or refused by ClickHouse
    written: int = 0  # in a dry run: missing
    raw_expired: int = 0  # may have been stored before its row expired: left alone
    rebuilt: int = 0  # rows added to rollups
    days: set[datetime] = field(default_factory=set)  # whose rollups are not rebuilt yet

    def add(self, found: Findings) -> None:
        rejected = len(found.rejected) + found.dead_lettered
        self.stored += found.stored
        self.duplicates += len(found.duplicates)
        self.rejected += rejected
        self.written += len(found.missing)
        self.raw_expired += len(found.raw_expired)
        self.records += (
            found.stored
            + len(found.duplicates)
            + rejected
            + len(found.missing)
            + len(found.raw_expired)
        )


def plan_part(
    log: LogReader, number: int, request: ReplayRequest, committed: Position | None
) -> ReplayPart:
    """The part of one partition, cut to what the workers have committed."""
    low, high = log.span(number)
    first = max(low, _bound(log, number, request.start_offset, request.start, low, high))
    end = min(high, _bound(log, number, request.end_offset, request.end, high, high))
    # Without a commit no offset is known to be stored: the workers will store all of them.
    limit = committed.offset if committed else low
    if end <= limit:
        return ReplayPart(number, first, max(first, end))
    return ReplayPart(number, first, max(first, limit), requested_end=end)


def _bound(
    log: LogReader,
    number: int,
    offset: int | None,
    moment: datetime | None,
    default: int,
    high: int,
) -> int:
    if offset is not None:
        return offset
    if moment is None:
        return default
    found = log.first_since(number, moment)
    return high if found is None else found


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """Progress as commit metadata of the progress group, for one topic and request."""

    topic_id: str
    request: ReplayRequest

    def encode(self, *, ended: bool) -> str:
        metadata = {
            "usagepipe_replay": _FORM,
            "topic_id": self.topic_id,
            "wanted": self.request.name(),
            "ended": ended,
        }
        return json.dumps(metadata)

    def resume(self, part: ReplayPart, done: Mapping[int, Position]) -> ReplayPart:
        """The part without what an earlier, interrupted run of the same request has replayed."""
        progress = done.get(part.partition)
        if progress is None or not part.first < progress.offset < part.end:
            return part
        if not self._is_interrupted(progress.metadata):
            return part
        return ReplayPart(part.partition, progress.offset, part.end, part.requested_end, True)

    def _is_interrupted(self, metadata: str) -> bool:
        """False also for metadata of other tools, and for brokers that keep none."""
        try:
            fields = json.loads(metadata)
            return bool(
                fields["topic_id"] == self.topic_id
                and fields["wanted"] == self.request.name()
                and fields["usagepipe_replay"] == _FORM
                and fields["ended"] is False
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
