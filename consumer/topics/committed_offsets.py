"""Reads what a group has committed. An error never looks like "nothing was ever committed".

Kafka reports an error of the whole group (its coordinator still loads its log, or has moved) next
to an empty list of partitions. aiokafka reads the list alone. A worker that took over in that
moment would begin every partition at the start of its log.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiokafka.errors import StaleMetadata
from aiokafka.protocol.commit import OffsetFetchRequest

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics.leaders import raise_error


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
    raise_error(getattr(response, "error_code", 0), f"the group {group}")  # since version 2
    found: dict[TopicPartition, Position] = {}
    for topic, answers in response.topics:
        for number, offset, metadata, error_code in answers:
            raise_error(error_code, f"the offset of the group {group}")
            found[TopicPartition(topic, number)] = Position(offset, metadata or "")
    if silent := set(partitions) - found.keys():
        names = ", ".join(map(str, sorted(silent)))
        raise StaleMetadata(f"the coordinator's answer lacks {names}")
    return {partition: position for partition, position in found.items() if position.offset >= 0}
