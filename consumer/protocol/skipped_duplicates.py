"""The offsets of a range that are not inserted, because their events are stored elsewhere.

They decide the bytes of an insert, so the announcement contains them: a recovery skips the same
offsets. Duplicates are mostly consecutive (a spill that was sent twice), so a list of ranges is
short. If it is too long, count and digest show whether a new look-up found the same offsets.
"""

import hashlib
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any, Final, Self

from usagepipe.consumer.log.offset_ranges import ranges_of

# The metadata of a commit may have 4,096 bytes (Kafka's `offset.metadata.max.bytes`).
MAX_LIST_CHARS: Final = 3_000


@dataclass(frozen=True, slots=True)
class SkippedDuplicates:
    """Offsets of a range. `offsets` is None if the list would be too long."""

    count: int = 0
    digest: str = ""
    offsets: frozenset[int] | None = frozenset()

    @classmethod
    def of(cls, offsets: Set[int], first: int) -> Self:
        """`offsets` of the range that begins at `first`."""
        if not offsets:
            return cls()
        fits = len(_write(offsets, first)) <= MAX_LIST_CHARS
        return cls(len(offsets), _digest(offsets), frozenset(offsets) if fits else None)

    def is_same(self, offsets: Set[int]) -> bool:
        """Whether these are `offsets`."""
        return len(offsets) == self.count and (not offsets or _digest(offsets) == self.digest)

    def encode(self, first: int) -> dict[str, Any]:
        """Its fields of an announcement; none without offsets."""
        if not self.count:
            return {}
        if self.offsets is None:
            return {"left_out": self.count, "digest": self.digest}
        return {"left_out": _write(self.offsets, first)}

    @classmethod
    def decode(cls, fields: dict[str, Any], first: int, last: int, most: int) -> Self:
        """Take its fields out of `fields`, an announcement of `most` records at `first` … `last`.

        Raises:
            ValueError: they are malformed.
        """
        found = fields.pop("left_out", "")
        digest = fields.pop("digest", "")
        if isinstance(found, str):
            return cls.of(frozenset(_read(found, first, last, most)), first)
        if type(found) is not int or not 0 < found <= most or not isinstance(digest, str):
            raise ValueError("left_out")
        return cls(found, digest, None)


def _digest(offsets: Set[int]) -> str:
    text = ",".join(map(str, sorted(offsets)))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _write(offsets: Set[int], start: int) -> str:
    """Ranges as `distance` or `distance+length`, with distances from `start`: `3+10,20`."""
    return ",".join(
        f"{each.first - start}" if each.size == 1 else f"{each.first - start}+{each.size}"
        for each in ranges_of(sorted(offsets))
    )


def _read(text: str, start: int, last: int, most: int) -> Iterable[int]:
    for item in text.split(",") if text else ():
        distance, plus, length = item.partition("+")
        first = start + int(distance)
        end = first + (int(length) if plus else 1)
        most -= end - first
        if not start <= first < end <= last + 1 or most < 0:  # not ours: never expand it
            raise ValueError("left_out")
        yield from range(first, end)
