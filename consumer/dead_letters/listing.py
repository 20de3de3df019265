"""Lists and counts dead letters by reason, for `usagepipe dlq list` and `usagepipe status`.

A listing keeps envelopes only: a record's bytes may be large and confidential.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from usagepipe.consumer.dead_letters.record import (
    Coordinates,
    DeadLetter,
    Envelope,
    SeenCoordinates,
)


@dataclass(slots=True)
class ListedDeadLetter:
    """A dead letter of a listing, and how many copies the topic has."""

    envelope: Envelope
    copies: int = 1


@dataclass(slots=True)
class ReasonCount:
    """Dead letters of one reason: how many, with how many copies, and when they arrived."""

    reason: str
    dead_letters: int = 0
    copies: int = 0
    first_written_at: datetime | None = None
    last_written_at: datetime | None = None


@dataclass(slots=True)
class Listing:
    """The `limit` oldest dead letters, and counts of all of them by reason."""

    limit: int
    rows: dict[Coordinates, ListedDeadLetter] = field(default_factory=dict)
    reasons: dict[str, ReasonCount] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many dead letters there are, listed or not. Copies do not count."""
        return sum(count.dead_letters for count in self.reasons.values())

    @classmethod
    def of(cls, dead_letters: Iterable[DeadLetter], limit: int) -> Self:
        """Read all of `dead_letters`, copies included."""
        listing, seen = cls(limit), SeenCoordinates()
        for each in dead_letters:
            listing._add(each.envelope, seen.add(each.envelope.coordinates))
        return listing

    def _add(self, envelope: Envelope, is_new: bool) -> None:
        count = self.reasons.setdefault(envelope.reason, ReasonCount(envelope.reason))
        count.dead_letters += is_new
        count.copies += 1
        count.first_written_at = count.first_written_at or envelope.written_at
        count.last_written_at = envelope.written_at
        if listed := self.rows.get(envelope.coordinates):
            listed.copies += 1
        elif is_new and len(self.rows) < self.limit:
            self.rows[envelope.coordinates] = ListedDeadLetter(envelope)
