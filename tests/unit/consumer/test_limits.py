"""A worker that refuses nearly everything stops before it empties a topic into the dead letters."""

import pytest

from tests.unit.consumer.records import PARTITION
from usagepipe.consumer.limits import LetterCount, LetterLimits, TooManyDeadLettersError

LIMITS = LetterLimits(run=10, ratio=0.2)


def count() -> LetterCount:
    return LetterCount(PARTITION, LIMITS)


def add(counting: LetterCount, offsets: range, refused: set[int]) -> None:
    counting.add(offsets, refused)


def test_a_run_of_refused_records_is_limited() -> None:
    """Also where it goes over from one batch into the next."""
    counting = count()
    add(counting, range(10), set(range(4, 10)))

    with pytest.raises(TooManyDeadLettersError, match="11 records in a row are refused"):
        add(counting, range(10, 20), set(range(10, 15)))


def test_a_good_record_ends_a_run() -> None:
    """So many in a row, not so many in all."""
    counting = count()

    for start in range(0, 900, 9):
        add(counting, range(start, start + 9), set(range(start, start + 8)))


def test_a_share_of_refused_records_is_limited() -> None:
    """Of the newest records; of few records no share is taken."""
    counting = count()
    add(counting, range(900), set(range(0, 900, 3)))

    with pytest.raises(TooManyDeadLettersError, match="300 of the last 1000 records are refused"):
        add(counting, range(900, 1_000), set())


def test_old_records_are_forgotten() -> None:
    """A partition that had a bad day last year is not near its limit for ever."""
    counting = count()
    add(counting, range(500), set(range(0, 500, 2)))
    add(counting, range(500, 20_000), set())

    add(counting, range(20_000, 30_000), set(range(20_000, 30_000, 6)))


def test_a_range_that_comes_again_counts_once() -> None:
    """A refused batch is cut in half, and its halves are prepared again."""
    counting = count()

    for _ in range(50):
        add(counting, range(1_000), set(range(0, 1_000, 6)))


def test_what_clickhouse_refuses_counts_too() -> None:
    """The records were counted as good ones first."""
    counting = count()
    add(counting, range(1_000), set())
    for _ in range(200):
        counting.refuse()
        counting.store()

    with pytest.raises(TooManyDeadLettersError, match="201 of the last 1000"):
        counting.refuse()


def test_a_batch_that_was_counted_and_is_cut_again_longer_counts_what_is_new() -> None:
    """A rebalance gives records back that were prepared already."""
    counting = count()
    add(counting, range(8), set(range(8)))

    add(counting, range(12), set(range(8)))


def test_a_range_that_the_log_has_lost_counts_nothing() -> None:
    """Retention may take a pending range away before it is read."""
    add(count(), range(0), set())


def test_a_run_of_rows_that_clickhouse_refuses_is_limited() -> None:
    """As one of records that are no events; one that it takes ends it."""
    counting = count()
    add(counting, range(900), set())
    for _ in range(10):
        counting.refuse()
    counting.store()
    for _ in range(10):
        counting.refuse()

    with pytest.raises(TooManyDeadLettersError, match="ClickHouse refuses 11 records in a row"):
        counting.refuse()
