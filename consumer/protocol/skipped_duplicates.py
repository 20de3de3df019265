"""The offsets of a range that are not inserted, because their events are stored elsewhere.

They decide the bytes of an insert, so they are announced with the range: whoever sends it again
leaves out the same ones. Duplicates come in runs (a spill sent twice), so a list of runs is short;
where it is not, count and digest tell whether the look-up made again found the same.
"""

import hashlib
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, Final, Self

# Of the 4,096 bytes that a commit's metadata may have (Kafka's `offset.metadata.max.bytes`).
MAX_RUNS_CHARS: Final = 3_000


@dataclass(frozen=True, slots=True)
class SkippedDuplicates:
    """So many offsets of a range. `offsets` is None where they are too many to be named."""

    count: int = 0
    digest: str = ""
    offsets: frozenset[int] | None = frozenset()

    @classmethod
    def of(cls, offsets: Set[int], first: int) -> Self:
        """`offsets` of the range that begins at `first`, named if there is room for them."""
        if not offsets:
            return cls()
        named = len(_write(offsets, first)) <= MAX_RUNS_CHARS
        return cls(len(offsets), _digest(offsets), frozenset(offsets) if named else None)

    def is_same(self, offsets: Set[int]) -> bool:
        """Whether `offsets` are these."""
        return len(offsets) == self.count and (not offsets or _digest(offsets) == self.digest)

    def encode(self, first: int) -> dict[str, Any]:
        """The part of an announcement that tells of them; empty for none."""
        if not self.count:
            return {}
        if self.offsets is None:
            return {"left_out": self.count, "digest": self.digest}
        return {"left_out": _write(self.offsets, first)}

    @classmethod
    def decode(cls, fields: dict[str, Any], first: int, last: int, most: int) -> Self:
        """Takes its part out of `fields`, the announcement of `most` records at `first` … `last`.

        Raises:
            ValueError: it is none.
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


def _runs(offsets: Set[int]) -> Iterator[tuple[int, int]]:
    """(first, length) of each run of consecutive offsets."""
    first, length = -1, 0
    for offset in sorted(offsets):
        if length and offset == first + length:
            length += 1
            continue
        if length:
            yield first, length
        first, length = offset, 1
    if length:
        yield first, length


def _write(offsets: Set[int], start: int) -> str:
    """Runs as `distance` or `distance+length`, each counted from `start`: `3+10,20`."""
    return ",".join(
        f"{first - start}" if length == 1 else f"{first - start}+{length}"
        for first, length in _runs(offsets)
    )


def _read(text: str, start: int, last: int, most: int) -> Iterable[int]:
    for run in text.split(",") if text else ():
        distance, plus, length = run.partition("+")
        first = start + int(distance)
        end = first + (int(length) if plus else 1)
        most -= end - first
        if not start <= first < end <= last + 1 or most < 0:  # foreign: never expanded
            raise ValueError("left_out")
        yield from range(first, end)
