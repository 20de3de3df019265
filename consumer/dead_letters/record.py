"""A dead letter: headers that say which record failed and why, and the record's untouched bytes.

The same dead letter may stand in its topic more than once, because a worker that crashes does not
know whether its sends arrived. Dead letters with equal `Coordinates` are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, cast

from confluent_kafka import Message

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND: Final = 253_402_300_799_999  # the end of the year 9999, Python's last date

Headers = Sequence[tuple[str, bytes | None]]


class Coordinates(NamedTuple):
    """Where a record was. Unique even when a topic is deleted and created again."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything about a dead letter except the record's bytes, so it is safe to list."""

    coordinates: Coordinates
    topic: str
    reason: str
    detail: str
    code: int | None  # ClickHouse's error code, when ClickHouse refused the row
    column: str  # the column that this error named, or empty
    recorded_at: datetime | None  # when the record arrived; None if unknown
    written_at: datetime | None  # when the dead letter arrived
    key_bytes: int | None
    value_bytes: int | None  # None: a tombstone, or an omitted value of unknown size
    value_omitted: bool  # too large for the dead-letter topic, or never unpacked


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An envelope, all headers, and the record's untouched key and value."""

    envelope: Envelope
    headers: Headers
    key: bytes | None
    value: bytes | None


def read_dead_letter(message: Message) -> DeadLetter | None:
    """The dead letter in `message`; None if required headers are missing or malformed."""
    # The client's types allow text, but only bytes arrive.
    key, value = cast(tuple[bytes | None, ...], (message.key(), message.value()))
    headers = cast(Headers, message.headers() or [])
    fields = {name: (text or b"").decode(errors="replace") for name, text in headers}
    try:
        omitted = fields.get("omitted_value_bytes")
        envelope = Envelope(
            Coordinates(fields["topic_id"], int(fields["partition"]), int(fields["offset"])),
            topic=fields["topic"],
            reason=fields["reason"],
            detail=fields.get("detail", ""),
            code=int(fields["code"]) if fields.get("code") else None,
            column=fields.get("column", ""),
            recorded_at=moment(int(fields["timestamp"])) if "timestamp" in fields else None,
            written_at=moment(message.timestamp()[1]),
            key_bytes=None if key is None else len(key),
            value_bytes=_length(value) if omitted is None else _omitted_length(omitted),
            value_omitted=omitted is not None,
        )
    except (KeyError, ValueError):
        return None
    return DeadLetter(envelope, headers, key, value)


def moment(milliseconds: int) -> datetime | None:
    """The time of a record's timestamp; None for -1 and values outside Python's dates."""
    if not 0 <= milliseconds <= _LAST_MILLISECOND:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _length(value: bytes | None) -> int | None:
    return None if value is None else len(value)


def _omitted_length(text: str) -> int | None:
    return int(text) if text else None


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter for dead letters. A field that is not set matches all.

    `reasons` are the wanted reasons, `excluded` the unwanted ones. `start` and `end` filter by the
    arrival of the dead letter; `end` is exclusive. `offsets` (both ends inclusive) and `partitions`
    filter by the record's coordinates.
    """

    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    offsets: tuple[int, int] | None = None
    topic_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    excluded: frozenset[str] = frozenset()

    def has(self, envelope: Envelope) -> bool:
        topic_id, partition, offset = envelope.coordinates
        return (
            (not self.reasons or envelope.reason in self.reasons)
            and envelope.reason not in self.excluded
            and (not self.partitions or partition in self.partitions)
            and (self.offsets is None or self.offsets[0] <= offset <= self.offsets[1])
            and (self.topic_id is None or topic_id == self.topic_id)
            and (self.start is None or (envelope.written_at or _EPOCH) >= self.start)
            and (self.end is None or (envelope.written_at or _EPOCH) < self.end)
        )


class SeenCoordinates:
    """A set of coordinates that takes about 100 bytes each."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], set[int]] = {}

    def add(self, coordinates: Coordinates) -> bool:
        """Add them; False if they were added before."""
        offsets = self._offsets.setdefault(coordinates[:2], set())
        known = coordinates.offset in offsets
        offsets.add(coordinates.offset)
        return not known
