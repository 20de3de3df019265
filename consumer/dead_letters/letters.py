"""What a dead letter tells: the envelope, which says why and whence, and the record inside.

A letter may stand in its topic more than once, as its sender cannot know whether it was delivered
before a crash: letters of equal coordinates are one. Lists hold envelopes only, never what records
hold: it may be large, and must not be shown by the way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, cast

from confluent_kafka import Message

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MILLISECOND: Final = 253_402_300_799_999  # the end of the year 9999: no date is later

Headers = Sequence[tuple[str, bytes | None]]


class Coordinates(NamedTuple):
    """Where a record stood; no two records share them, not even in a topic made anew."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """All that a letter tells but the record itself."""

    coordinates: Coordinates
    topic: str
    reason: str
    detail: str
    code: int | None  # ClickHouse's error code, of a row that it refused
    column: str  # and the column that it named, if it did
    recorded_at: datetime | None  # when the record arrived; None is unknown
    written_at: datetime | None  # when the letter arrived
    key_bytes: int | None
    value_bytes: int | None  # None is a tombstone, or not known of an omitted value
    value_omitted: bool  # it was too large for the topic of dead letters, or nobody read it


@dataclass(frozen=True, slots=True)
class Letter:
    """An envelope with the record's untouched key and value, and all headers as they came."""

    envelope: Envelope
    headers: Headers
    key: bytes | None
    value: bytes | None


def read_letter(message: Message) -> Letter | None:
    """The letter that `message` is; None if it is none, as it lacks the headers of one."""
    # The client's types allow text where only bytes come back.
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
    return Letter(envelope, headers, key, value)


def moment(milliseconds: int) -> datetime | None:
    """The moment of a record's timestamp; None for -1 and others that are no date."""
    if not 0 <= milliseconds <= _LAST_MILLISECOND:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _length(value: bytes | None) -> int | None:
    return None if value is None else len(value)


def _omitted_length(text: str) -> int | None:
    return int(text) if text else None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant. What is not given chooses all.

    `reasons` are those wanted, `left_out` those that never are.
    `start` and `end` are about the letters' arrival; `end` is the first moment after the range.
    `offsets`, which include both ends, and `partitions` are about the record.
    """

    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    offsets: tuple[int, int] | None = None
    topic_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    left_out: frozenset[str] = frozenset()

    def has(self, envelope: Envelope) -> bool:
        topic_id, partition, offset = envelope.coordinates
        return (
            (not self.reasons or envelope.reason in self.reasons)
            and envelope.reason not in self.left_out
            and (not self.partitions or partition in self.partitions)
            and (self.offsets is None or self.offsets[0] <= offset <= self.offsets[1])
            and (self.topic_id is None or topic_id == self.topic_id)
            and (self.start is None or (envelope.written_at or _EPOCH) >= self.start)
            and (self.end is None or (envelope.written_at or _EPOCH) < self.end)
        )


class Seen:
    """The coordinates met so far, in some 100 bytes each."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], set[int]] = {}

    def is_new(self, coordinates: Coordinates) -> bool:
        """Whether they are met for the first time; they are no longer new then."""
        offsets = self._offsets.setdefault(coordinates[:2], set())
        known = coordinates.offset in offsets
        offsets.add(coordinates.offset)
        return not known


@dataclass(slots=True)
class Listed:
    """A letter of a list, and how many times it stands in the topic."""

    envelope: Envelope
    copies: int = 1


@dataclass(slots=True)
class ReasonCount:
    """The letters of one reason: each once, and all copies; when the first and last came."""

    reason: str
    letters: int = 0
    copies: int = 0
    first_written_at: datetime | None = None
    last_written_at: datetime | None = None


@dataclass(slots=True)
class Listing:
    """The first `limit` of the letters, oldest first, and counts of all of them by reason."""

    limit: int
    rows: dict[Coordinates, Listed] = field(default_factory=dict)
    reasons: dict[str, ReasonCount] = field(default_factory=dict)

    @property
    def letters(self) -> int:
        """How many there are, listed or not, each counted once."""
        return sum(count.letters for count in self.reasons.values())

    @classmethod
    def of(cls, letters: Iterable[Letter], limit: int) -> "Listing":
        """Read all of `letters`, copies too, and keep what is listed."""
        listing, seen = cls(limit), Seen()
        for letter in letters:
            listing._add(letter.envelope, seen.is_new(letter.envelope.coordinates))
        return listing

    def _add(self, envelope: Envelope, new: bool) -> None:
        count = self.reasons.setdefault(envelope.reason, ReasonCount(envelope.reason))
        count.letters += new
        count.copies += 1
        count.first_written_at = count.first_written_at or envelope.written_at
        count.last_written_at = envelope.written_at
        if listed := self.rows.get(envelope.coordinates):
            listed.copies += 1
        elif new and len(self.rows) < self.limit:
            self.rows[envelope.coordinates] = Listed(envelope)
