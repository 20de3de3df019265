"""Encodes the records of a batch as rows for ClickHouse, one line of JSON each.

A row is an event and its coordinates in the log.
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
from usagepipe.consumer.rows.event_reader import DECODED_TOGETHER, decode_row, read_events
from usagepipe.consumer.rows.pricing import Pricing
from usagepipe.schemas.errors import EventRejectedError
from usagepipe.schemas.event import EARLIEST, LATEST

_encoder: Final = msgspec.json.Encoder()
_FIRST_MS: Final = int(EARLIEST.timestamp()) * 1000  # ClickHouse reads 9 or 10 digits as seconds
_LAST_MS: Final = int(LATEST.timestamp()) * 1000 - 1


class Place(NamedTuple):
    """A stored row of one partition. The offset alone does not say of which event it is: a log
    that lost its end gives the same offsets to other events."""

    offset: int
    event_id: str  # canonical lower-case text


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not an event, with the facts of its dead letter."""

    record: Record
    reason: str
    detail: str
    code: int | None = None  # ClickHouse's, if it refused the row
    column: str = ""


class _Moment(msgspec.Struct):
    """The part of a row that `Rows.moments` reads again."""

    occurred_at: datetime


_decode_moment: Final = msgspec.json.Decoder(_Moment).decode


@dataclass(frozen=True, slots=True)
class Rows:
    """The body of an insert, and the rejected records.

    `offsets`, `ids` (canonical text) and `sources` (of costs) belong to the lines of `body`, in
    their order.
    """

    body: bytes | bytearray
    offsets: Sequence[int]
    ids: Sequence[str]
    rejected: tuple[Rejected, ...]
    sources: Sequence[str] = ()

    @property
    def count(self) -> int:
        return len(self.offsets)

    @property
    def places(self) -> frozenset[Place]:
        """The offset and id of each event."""
        return frozenset(map(Place, self.offsets, self.ids))

    @property
    def digest(self) -> str:
        """A hash of the events and their order."""
        return hashlib.blake2b("".join(self.ids).encode(), digest_size=8).hexdigest()

    def without(self, offsets: Set[int]) -> "Rows":
        """The same without the rows at `offsets`."""
        if not offsets:
            return self
        kept = [n for n, offset in enumerate(self.offsets) if offset not in offsets]
        lines = self.body.split(b"\n")  # a line of JSON contains no line break
        return Rows(
            b"".join(lines[n] + b"\n" for n in kept),
            [self.offsets[n] for n in kept],
            [self.ids[n] for n in kept],
            self.rejected,
            [self.sources[n] for n in kept] if self.sources else (),
        )

    def moments(self) -> list[datetime]:
        """When the events of the rows occurred. Slow: it decodes the lines."""
        return [_decode_moment(line).occurred_at for line in self.body.splitlines()]


def encode_rows(
    records: Iterable[Record],
    partition: TopicPartition,
    topic_id: str,
    epoch: int,
    pricing: Pricing | None = None,
) -> Rows:
    """The rows of `records` as JSONEachRow, in the order of the records, priced by `pricing`.

    Never raises because of a record's content: a record that is not an event is in `rejected`.
    """
    body = bytearray()
    offsets: list[int] = []
    ids: list[str] = []
    sources: list[str] = []
    rejected: list[Rejected] = []
    waiting = iter(records)
    while some := list(islice(waiting, DECODED_TOGETHER)):  # all rows at once would be 70 MB
        rows = []
        for record, row in zip(some, read_events([r.value for r in some]), strict=True):
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
        if pricing is not None:
            pricing.apply(rows)
        body += _encoder.encode_lines(rows)
        offsets += [row.kafka_offset for row in rows]
        ids += [row.event_id for row in rows]
        sources += [row.cost_source for row in rows]
    return Rows(body, offsets, ids, tuple(rejected), sources)


def price_lines(lines: Iterable[bytes], pricing: Pricing) -> list[bytes]:
    """The lines of rows, priced by `pricing`."""
    rows = [decode_row(line) for line in lines]
    pricing.apply(rows)
    return [_encoder.encode(row) for row in rows]


def _rejected(record: Record, error: EventRejectedError) -> Rejected:
    source = record if isinstance(record, UnreadableRecord) else error
    return Rejected(record, source.reason, source.detail)


@lru_cache(maxsize=1)  # records of one batch share the broker's time
def _seconds(milliseconds: int) -> str:
    """A record's time as ClickHouse reads it. A time out of range becomes the nearest valid one.

    Only the broker's clock (`LogAppendTime`) is reliable. On a topic that usagepipe did not create,
    the producer may set the time, and -1 is no time at all.
    """
    milliseconds = min(max(milliseconds, _FIRST_MS), _LAST_MS)
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
