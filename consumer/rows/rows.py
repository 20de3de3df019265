"""Turns the records of a batch into the rows that ClickHouse stores, one line of JSON each.

A row is the event and its place in the log.
"""

import hashlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.consumer.log.unreadable import UnreadableRecord
from usagepipe.consumer.rows.event_reader import CHUNK, read_events
from usagepipe.schemas.errors import EventRejectedError
from usagepipe.schemas.event import EARLIEST, LATEST

_encoder: Final = msgspec.json.Encoder()
_FIRST_MS: Final = int(EARLIEST.timestamp()) * 1000  # nine digits of seconds, or ten: no date
_LAST_MS: Final = int(LATEST.timestamp()) * 1000 - 1


class Place(NamedTuple):
    """A stored row of one partition. The offset alone does not say of which event it is: a log
    that lost its end gives the same offsets to other events."""

    offset: int
    event_id: str  # canonical lower-case text


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no event: what its dead letter tells."""

    record: Record
    reason: str
    detail: str
    code: int | None = None  # ClickHouse's, where it refused the row
    column: str = ""


class _Moment(msgspec.Struct):
    """All that is read again of a row."""

    occurred_at: datetime


_decode_moment: Final = msgspec.json.Decoder(_Moment).decode


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as ClickHouse takes it, and the records that are none of it.

    `offsets` and `ids` (canonical text) are those of the lines of `body`, in their order.
    """

    body: bytes | bytearray
    offsets: Sequence[int]
    ids: Sequence[str]
    rejected: tuple[Rejected, ...]

    @property
    def count(self) -> int:
        return len(self.offsets)

    @property
    def places(self) -> frozenset[Place]:
        """Where each event stands."""
        return frozenset(map(Place, self.offsets, self.ids))

    @property
    def digest(self) -> str:
        """The same for the same events in the same order, and for no others."""
        return hashlib.blake2b("".join(self.ids).encode(), digest_size=8).hexdigest()

    def without(self, left_out: Set[int]) -> "Rows":
        """The same without the rows of these offsets."""
        if not left_out:
            return self
        kept = [n for n, offset in enumerate(self.offsets) if offset not in left_out]
        lines = self.body.split(b"\n")  # JSON has no line break of its own
        return Rows(
            b"".join(lines[n] + b"\n" for n in kept),
            [self.offsets[n] for n in kept],
            [self.ids[n] for n in kept],
            self.rejected,
        )

    def moments(self) -> list[datetime]:
        """When the events of the rows occurred. Reads the lines: for the rare case."""
        return [_decode_moment(line).occurred_at for line in self.body.splitlines()]


def encode_rows(
    records: Iterable[Record], partition: TopicPartition, topic_id: str, epoch: int
) -> Rows:
    """The rows of `records` as JSONEachRow, with their coordinates in the log, in their order.

    Never raises for what a record holds: a record that is no event is in `rejected`.
    """
    body = bytearray()
    offsets: list[int] = []
    ids: list[str] = []
    rejected: list[Rejected] = []
    waiting = iter(records)
    while chunk := list(islice(waiting, CHUNK)):  # the rows of a whole batch would be 70 MB
        rows = []
        for record, row in zip(chunk, read_events([r.value for r in chunk]), strict=True):
            if type(row) is EventRejectedError:
                rejected.append(_rejected(record, row))
                continue
            row.kafka_topic = partition.topic
            row.kafka_topic_id = topic_id
            row.kafka_partition = partition.partition
            row.kafka_offset = record.offset
            row.batch_epoch = epoch
            row.ingested_at = _seconds(record.timestamp)
            rows.append(row)
        body += _encoder.encode_lines(rows)
        offsets += [row.kafka_offset for row in rows]
        ids += [row.event_id for row in rows]
    return Rows(body, offsets, ids, tuple(rejected))


def _rejected(record: Record, error: EventRejectedError) -> Rejected:
    told = record if isinstance(record, UnreadableRecord) else error
    return Rejected(record, told.reason, told.detail)


@lru_cache(maxsize=1)  # the broker gives one time to all that came together
def _seconds(milliseconds: int) -> str:
    """A record's time as ClickHouse reads it; one that cannot be is cut to the nearest that can.

    Only the broker's clock (`LogAppendTime`) can be trusted: on a topic that somebody else made,
    the time is the producer's word, and no time at all is -1.
    """
    milliseconds = min(max(milliseconds, _FIRST_MS), _LAST_MS)
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
