"""Sets of offsets as ranges with both ends included, so that a report of many offsets is short."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple


class OffsetRange(NamedTuple):
    """The offsets `first` … `last`."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}" if self.size > 1 else str(self.first)


def ranges_of(offsets: Iterable[int]) -> list[OffsetRange]:
    """The ranges that contain exactly `offsets`, which are in order."""
    return joined(OffsetRange(offset, offset) for offset in offsets)


def joined(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    """The same offsets, with adjacent ranges merged. `ranges` are in order."""
    found: list[OffsetRange] = []
    for each in ranges:
        if found and each.first <= found[-1].last + 1:
            found[-1] = OffsetRange(found[-1].first, max(found[-1].last, each.last))
        else:
            found.append(each)
    return found


def without(ranges: Iterable[OffsetRange], offsets: Iterable[int]) -> list[OffsetRange]:
    """The offsets of `ranges` that are not in `offsets`."""
    left: list[OffsetRange] = []
    taken = sorted(set(offsets))
    for each in ranges:
        first = each.first
        for offset in taken[bisect_left(taken, first) : bisect_right(taken, each.last)]:
            if first < offset:
                left.append(OffsetRange(first, offset - 1))
            first = offset + 1
        if first <= each.last:
            left.append(OffsetRange(first, each.last))
    return left


def near(ranges: Iterable[OffsetRange], apart: int) -> Iterator[list[OffsetRange]]:
    """The ranges in groups, with gaps of less than `apart` offsets inside a group.

    Reading a group at once costs less than a seek to each of its ranges.
    """
    group: list[OffsetRange] = []
    for each in ranges:
        if group and each.first - group[-1].last >= apart:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def offsets_of(ranges: Iterable[OffsetRange]) -> Iterator[int]:
    """Every offset of `ranges`, in their order."""
    return chain.from_iterable(range(each.first, each.last + 1) for each in ranges)


def size(ranges: Iterable[OffsetRange]) -> int:
    """The number of offsets."""
    return sum(each.size for each in ranges)


def members(ranges: Sequence[OffsetRange], offsets: Iterable[int]) -> list[int]:
    """The `offsets` that are in `ranges`, which are in order."""
    firsts = [each.first for each in ranges]
    return [
        offset
        for offset in offsets
        if (place := bisect_right(firsts, offset)) and offset <= ranges[place - 1].last
    ]
