"""Records that are not read: they or their record batches are too large or malformed.

Little more than the offset of such a record is known. Each becomes a dead letter without a value.
So the partition goes on, and every offset of the log is accounted for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, overload

BATCH_TOO_LARGE: Final = "batch_too_large"  # reasons of dead letters
BATCH_UNDECODABLE: Final = "batch_undecodable"
RECORD_TOO_LARGE: Final = "record_too_large"
UNREADABLE: Final = frozenset({BATCH_TOO_LARGE, BATCH_UNDECODABLE})  # for every other client too


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record without key and value, and the reason."""

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
    """The records at `offsets`, made on access: a record batch can claim millions."""

    def __init__(self, offsets: range, timestamp: int, reason: str, detail: str) -> None:
        self._offsets = offsets
        self._facts = (timestamp, reason, detail)

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> UnreadableRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "UnreadableRecords": ...
    def __getitem__(self, index: int | slice) -> "UnreadableRecord | UnreadableRecords":
        if isinstance(index, slice):
            return UnreadableRecords(self._offsets[index], *self._facts)
        return UnreadableRecord(self._offsets[index], *self._facts)
