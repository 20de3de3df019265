"""The borders of leader epochs, of logs with many epochs and with gaps between their numbers."""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping

import pytest

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH, EpochEnd
from usagepipe.consumer.topics.epoch_borders import borders_of


class Leader:
    """Answers as Apache Kafka does, of a log whose epochs begin at these offsets."""

    def __init__(self, begins: Mapping[int, int], end: int) -> None:
        self.asked = 0
        self._epochs = sorted(begins)
        self._begins = begins
        self._end = end

    async def end_of(self, epoch: int) -> EpochEnd | None:
        self.asked += 1
        later = bisect_right(self._epochs, epoch)
        if not self._epochs or epoch > self._epochs[-1]:
            return EpochEnd(UNKNOWN_EPOCH, -1)
        if epoch == self._epochs[-1]:
            return EpochEnd(epoch, self._end)
        reported = self._epochs[later - 1] if later else epoch
        return EpochEnd(reported, self._begins[self._epochs[later]])


@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        ({}, []),
        ({0: 0}, []),
        ({7: 10}, []),
        ({0: 0, 1: 40}, [40]),
        ({5: 3, 6: 20, 900: 30, 901: 31, 70_000: 99}, [20, 30, 31, 99]),
        ({1: 5, 2: 100, 3: 120}, []),  # the last ones are beyond what is looked at
    ],
    ids=["none", "one", "one of a high number", "two", "gaps", "beyond"],
)
def test_each_epoch_but_the_first_has_a_border(
    begins: Mapping[int, int], expected: list[int]
) -> None:
    """It lies where the epoch begins, if that is inside of the part that is looked at."""
    leader = Leader(begins, 200)

    assert expected == asyncio.run(borders_of(leader.end_of, 10, 100))


def test_a_hundred_epochs_cost_about_a_question_each() -> None:
    """Not one search through the records for each of them."""
    leader = Leader({epoch: 1_000 * epoch for epoch in range(100)}, 1_000_000)

    found = asyncio.run(borders_of(leader.end_of, 0, 1_000_000))

    assert [1_000 * epoch for epoch in range(1, 100)] == found
    assert leader.asked < 150


def test_a_broker_that_does_not_know_the_question_gives_no_answer() -> None:
    """The caller has to look otherwise."""

    async def nothing(_: int) -> EpochEnd | None:
        return None

    assert asyncio.run(borders_of(nothing, 0, 10)) is None
