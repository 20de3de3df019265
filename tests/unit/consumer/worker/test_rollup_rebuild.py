"""Which buckets are compared when a range may lack rows in the rollups."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.rollups.comparison_sql import UnsettledOffsets
from usagepipe.consumer.worker.rollup_rebuild import LONGEST, NEAR, spans, unsettled_beside
from usagepipe.schemas.errors import RollupsBusyError

BUCKET = timedelta(minutes=15)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_stretch_is_made_of_whole_buckets() -> None:
    """The first and the last moment of a bucket are both in it."""
    moments = [NOON + timedelta(minutes=20), NOON + timedelta(minutes=44, seconds=59)]

    assert [(NOON + timedelta(minutes=15), NOON + timedelta(minutes=45))] == spans(moments)


@pytest.mark.parametrize(("apart", "stretches"), [(NEAR, 1), (NEAR + BUCKET, 2)])
def test_what_lies_far_apart_is_not_compared_in_between(apart: timedelta, stretches: int) -> None:
    """A single late event does not make the worker read the years since."""
    assert stretches == len(spans([NOON, NOON + BUCKET + apart]))


def test_late_events_of_days_are_a_few_stretches() -> None:
    """Each is several queries while inserts wait: bucket by bucket, these took 75 seconds."""
    rng = random.Random(1)
    moments = [NOON + timedelta(minutes=rng.randrange(3 * 24 * 60)) for _ in range(80)]

    found = spans(moments)

    assert len(found) <= 3 * timedelta(days=1) / LONGEST + 4
    assert all(any(first <= moment < end for first, end in found) for moment in moments)


def test_a_stretch_is_never_long() -> None:
    """However many events there are: its rows are compared at once."""
    moments = [NOON + number * BUCKET for number in range(4 * 24 * 10)]

    assert {LONGEST} == {end - first for first, end in spans(moments)}


OWN, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def _unsettled(acknowledged: Mapping[TopicPartition, int]) -> list[UnsettledOffsets]:
    """What is unsettled beside the range 100 … 199 of `OWN`."""
    block: Any = SimpleNamespace(
        batch=SimpleNamespace(partition=OWN),
        topic=SimpleNamespace(topic_id="id"),
        pending=SimpleNamespace(first=100),
    )
    return unsettled_beside(block, acknowledged)


def test_what_others_have_not_acknowledged_is_unsettled() -> None:
    """Their inserts may still wait to fill a rollup; the range itself is what is rebuilt."""
    assert [UnsettledOffsets("id", 1, 50)] == _unsettled({OWN: 100, OTHER: 50})


@pytest.mark.parametrize("committed", [{OWN: 900, OTHER: 50}, {OTHER: 50}])
def test_a_range_of_another_worker_is_not_rebuilt(
    committed: Mapping[TopicPartition, int],
) -> None:
    """A rebuild whose partition went to another worker must end, or it would count rows twice."""
    with pytest.raises(RollupsBusyError):
        _unsettled(committed)
