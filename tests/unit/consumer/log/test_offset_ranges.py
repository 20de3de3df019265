"""Ranges of offsets hold exactly the offsets they are made of."""

import random

import pytest

from usagepipe.consumer.log.offset_ranges import (
    OffsetRange,
    joined,
    members,
    near,
    ranges_of,
    size,
    without,
)


def offsets(ranges: list[OffsetRange]) -> list[int]:
    return [offset for each in ranges for offset in range(each.first, each.last + 1)]


def test_offsets_become_the_fewest_ranges() -> None:
    """Neighbours are one range, and a range is written briefly."""
    assert ["1-3", "5", "7-8"] == [str(each) for each in ranges_of([1, 2, 3, 5, 7, 8])]


def test_ranges_that_touch_become_one() -> None:
    """Two ranges with nothing between them are one."""
    assert [(1, 6), (8, 9)] == joined([OffsetRange(1, 3), OffsetRange(4, 6), OffsetRange(8, 9)])


def test_ranges_that_overlap_lose_no_offset() -> None:
    """Also if one range is inside another."""
    assert [(1, 9)] == joined([OffsetRange(1, 9), OffsetRange(2, 3)])


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_out_and_what_is_in_are_all_there_is(seed: int) -> None:
    """`without` and `members` divide a set of offsets by another, like sets do."""
    dice = random.Random(seed)
    some = sorted({dice.randrange(60) for _ in range(30)})
    others = sorted({dice.randrange(60) for _ in range(20)})
    ranges = ranges_of(some)

    assert sorted(set(some) - set(others)) == offsets(without(ranges, others))
    assert sorted(set(some) & set(others)) == members(ranges, others)
    assert len(some) == size(ranges)


def test_ranges_are_grouped_by_how_near_they_are() -> None:
    """A group is read at once; a wide gap begins another."""
    ranges = [OffsetRange(1, 2), OffsetRange(5, 5), OffsetRange(100, 110)]

    assert [ranges[:2], ranges[2:]] == list(near(ranges, 50))
    assert [] == list(near([], 50))
