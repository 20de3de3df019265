"""Finds where the leader epochs of a log begin, with a few requests to the partition's leader.

The leader returns where an epoch ends, and the next one begins there. For an epoch without records
it returns the end of the last one before it. So the answers grow from epoch to epoch, and no epoch
begins between two epochs with the same answer.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH, EpochEnd
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.topics.leader_epochs import epoch_ends

LAST_EPOCH: Final = (1 << 31) - 1  # an Int32

EpochEndOf = Callable[[int], Coroutine[Any, Any, EpochEnd | None]]


async def epoch_borders(
    client: Any, partition: TopicPartition, low: int, high: int
) -> list[int] | None:
    """The offsets between `low` and `high` where a leader epoch begins, in order.

    None: the broker does not know the request. `client` is aiokafka's.

    Raises:
        aiokafka.errors.KafkaError: a broker did not answer, or no longer leads the partition.
    """

    async def end_of(epoch: int) -> EpochEnd | None:
        return (await epoch_ends(client, {partition: epoch})).get(partition)

    return await borders_of(end_of, low, high)


async def borders_of(end_of: EpochEndOf, low: int, high: int) -> list[int] | None:
    """The same for a log whose leader answers with `end_of`."""

    async def end(epoch: int) -> int:
        return _offset(await end_of(epoch), high)

    asked = await end_of(0)
    if asked is None:
        return None
    epoch, first = 0, _offset(asked, high)
    last = first
    while last < high and epoch < LAST_EPOCH:
        epoch = min(2 * epoch + 1, LAST_EPOCH)
        last = await end(epoch)
    found = {first, last} | await _between(end, (0, first), (epoch, last))
    return sorted(offset for offset in found if low < offset < high)


def _offset(found: EpochEnd | None, high: int) -> int:
    if found is None or found.leader_epoch == UNKNOWN_EPOCH:
        return high  # the epoch is later than the last epoch of the log
    return min(found.offset, high)


async def _between(
    end: Callable[[int], Coroutine[Any, Any, int]], first: tuple[int, int], last: tuple[int, int]
) -> set[int]:
    """The ends of the epochs between `first` and `last`, each an epoch and its end."""
    if first[1] == last[1] or last[0] - first[0] < 2:
        return set()
    epoch = (first[0] + last[0]) // 2
    middle = (epoch, await end(epoch))
    # At the same time: with many epochs the round trips would add up.
    halves = await asyncio.gather(_between(end, first, middle), _between(end, middle, last))
    return {middle[1]}.union(*halves)
