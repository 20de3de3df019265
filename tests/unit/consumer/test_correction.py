"""Which buckets are compared when a range may lack rows in the rollups."""

import random
from datetime import UTC, datetime, timedelta

from usagepipe.consumer.correction import spans

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_stretch_is_made_of_whole_buckets() -> None:
    """The first and the last moment of a bucket are both in it."""
    moments = [NOON + timedelta(minutes=20), NOON + timedelta(minutes=44, seconds=59)]

    assert [(NOON + timedelta(minutes=15), NOON + timedelta(minutes=45))] == spans(moments)


def test_what_lies_far_apart_is_not_compared_in_between() -> None:
    """A single late event does not make the worker read the years since."""
    long_ago = NOON - timedelta(days=900)

    assert [
        (long_ago, long_ago + timedelta(minutes=15)),
        (NOON, NOON + timedelta(minutes=15)),
    ] == spans([NOON, long_ago])


def test_late_events_of_days_are_a_few_stretches() -> None:
    """Each stretch is several queries while inserts wait: 700 events were 75 seconds of them."""
    rng = random.Random(1)
    moments = [NOON + timedelta(minutes=rng.randrange(3 * 24 * 60)) for _ in range(80)]

    found = spans(moments)

    assert len(found) <= 10
    assert all(any(first <= moment < end for first, end in found) for moment in moments)
