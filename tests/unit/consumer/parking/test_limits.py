"""A batch with too many refused records exceeds a limit before its dead letters are sent."""

import pytest

from usagepipe.consumer.parking.limits import Counts, DeadLetterCounter, DeadLetterLimits, Excess

LIMITS = DeadLetterLimits(run=10, ratio=0.2)


def count(counted: Counts = Counts(), exempt: range = range(0)) -> DeadLetterCounter:  # noqa: B008
    return DeadLetterCounter(LIMITS, counted, exempt)


def found(excess: Excess | None) -> tuple[int, int, int] | None:
    """What was counted in a row, in all, and refused."""
    return None if excess is None else (excess.run, excess.records, excess.refused)


def test_a_run_of_refused_records_is_limited() -> None:
    """Also where it goes over from one batch into the next."""
    counting = count()
    within = counting.add(range(10), set(range(4, 10)))

    excess = counting.add(range(10, 20), set(range(10, 15)))

    assert (None, (11, 20, 11)) == (within, found(excess))


def test_a_good_record_ends_a_run() -> None:
    """The limit is of records in a row, not in all."""
    counting = count()

    found = [counting.add(range(n, n + 9), set(range(n, n + 8))) for n in range(0, 900, 9)]

    assert {None} == set(found)


def test_a_share_of_refused_records_is_limited() -> None:
    """Of the newest records; of few records no share is taken."""
    counting = count()
    few = counting.add(range(900), set(range(0, 900, 3)))

    excess = counting.add(range(900, 1_000), set())

    assert (None, (0, 1_000, 300)) == (few, found(excess))
    assert excess is not None
    assert 0.3 == excess.ratio


def test_old_records_are_forgotten() -> None:
    """Refusals of last year do not bring a partition near its limit."""
    counting = count()
    counting.add(range(500), set(range(0, 500, 2)))
    counting.add(range(500, 20_000), set())

    assert counting.add(range(20_000, 30_000), set(range(20_000, 30_000, 6))) is None


def test_a_range_that_comes_again_counts_once() -> None:
    """A refused batch is cut in half, and its halves are prepared again."""
    counting = count()

    found = [counting.add(range(1_000), set(range(0, 1_000, 6))) for _ in range(50)]

    assert {None} == set(found)


def test_what_clickhouse_refuses_counts_too() -> None:
    """The records were counted as good ones first."""
    counting = count()
    counting.add(range(1_000), set())
    for offset in range(200):
        assert counting.refuse(offset) is None
        counting.store()

    assert (1, 1_000, 201) == found(counting.refuse(200))


def test_a_batch_that_was_counted_and_is_cut_again_longer_counts_what_is_new() -> None:
    """A rebalance gives records back that were prepared already."""
    counting = count()
    counting.add(range(8), set(range(8)))

    assert counting.add(range(12), set(range(8))) is None


def test_a_range_that_the_log_has_lost_counts_nothing() -> None:
    """Retention may take a pending range away before it is read."""
    assert count().add(range(0), set()) is None


def test_a_run_of_rows_that_clickhouse_refuses_is_limited() -> None:
    """As one of records that are no events; one that it takes ends it."""
    counting = count()
    counting.add(range(900), set())
    for offset in range(10):
        counting.refuse(offset)
    counting.store()
    for offset in range(10, 20):
        counting.refuse(offset)

    assert (11, 900, 21) == found(counting.refuse(20))


@pytest.mark.parametrize("tries", [2, 5])
def test_a_batch_that_passes_a_limit_is_not_counted(tries: int) -> None:
    """Tried again it passes the limit again, by the same numbers."""
    counting = count()
    counting.add(range(8), set(range(8)))

    again = {found(counting.add(range(8, 20), {8, 9, 10})) for _ in range(tries)}

    assert {(11, 20, 11)} == again


def test_a_count_goes_on_where_another_ended() -> None:
    """A batch that is retried by another worker passes the same limit."""
    first = count()
    first.add(range(8), set(range(8)))
    excess = first.add(range(8, 12), {8, 9, 10})
    assert excess is not None

    again = count(excess.before).add(range(8, 12), {8, 9, 10})

    assert found(excess) == found(again)


def test_exempt_offsets_do_not_count() -> None:
    """Records that an operator released as dead letters; those after them count from zero."""
    counting = count(exempt=range(5, 50))

    within = counting.add(range(60), set(range(5, 60)))
    excess = counting.add(range(60, 70), {60})

    assert (None, (11, 25, 11)) == (within, found(excess))
    assert counting.refuse(49) is None
