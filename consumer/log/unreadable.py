"""Records that nobody reads: they, or the record batches they came in, are too large.

Little more is known of one than where it stood. Each becomes a dead letter without a value, so
that its partition goes on and every offset of the log is accounted for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, overload

BATCH_TOO_LARGE: Final = "batch_too_large"  # reasons of dead letters
BATCH_UNDECODABLE: Final = "batch_undecodable"
RECORD_TOO_LARGE: Final = "record_too_large"
UNREADABLE: Final = frozenset({BATCH_TOO_LARGE, BATCH_UNDECODABLE})  # by any other client, too


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record whose key and value were not taken, and why."""

    offset: int
    timestamp: int
    reason: str
    detail: str
    value_bytes: int | None = None  # None: not known

    @property
    def key(self) -> None:
        return None

    @property
    def value(self) -> None:
        return None


class UnreadableRecords(Sequence[UnreadableRecord]):
    """The records at `offsets`, made as they are asked for: a batch may claim millions."""

    def __init__(self, offsets: range, timestamp: int, reason: str, detail: str) -> None:
        self._offsets = offsets
        self._told = (timestamp, reason, detail)

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> UnreadableRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "UnreadableRecords": ...
    def __getitem__(self, index: int | slice) -> "UnreadableRecord | UnreadableRecords":
        if isinstance(index, slice):
            return UnreadableRecords(self._offsets[index], *self._told)
        return UnreadableRecord(self._offsets[index], *self._told)
