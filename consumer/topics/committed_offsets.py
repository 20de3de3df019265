"""Reads what a group has committed. An error never looks like "nothing was ever committed".

Kafka reports an error of the whole group (its coordinator still loads its log, or has moved) next
to an empty list of partitions. aiokafka reads the list alone. A worker that took over in that
moment would begin every partition at the start of its log.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Position


async def committed_positions(
    ask: Callable[[OffsetFetchRequest], Awaitable[Any]],
    group: str,
    partitions: Collection[TopicPartition],
) -> dict[TopicPartition, Position]:
    """The committed position of each of `partitions` that has one.

    `ask` sends a request to the coordinator of `group`. It is called once: the caller retries.

    Raises:
        aiokafka.errors.KafkaError: the coordinator refused, or its answer lacks a partition.
    """
    numbers = defaultdict(list)
    for partition in partitions:
        numbers[partition.topic].append(partition.partition)
    response = await ask(OffsetFetchRequest(group, list(numbers.items())))
    _check(group, getattr(response, "error_code", 0))  # since version 2
    found: dict[TopicPartition, Position] = {}
    for topic, answers in response.topics:
        for number, offset, metadata, error_code in answers:
            _check(group, error_code)
            found[TopicPartition(topic, number)] = Position(offset, metadata or "")
    if silent := set(partitions) - found.keys():
        raise KafkaError(f"the coordinator's answer lacks {', '.join(map(str, sorted(silent)))}")
    return {partition: position for partition, position in found.items() if position.offset >= 0}


def _check(group: str, code: int) -> None:
    error = for_code(code)
    if error is not NoError:
        raise error(f"offsets of the group {group}")
