"""Reads what the group has committed. An error is never taken for "nothing was ever committed".

Kafka tells an error of the whole group (its coordinator still reads its log, or has moved) beside
an empty list of partitions, and aiokafka's own `fetch_committed_offsets` reads the list alone: a
worker that took over in that moment would begin every partition at its log's start.
"""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Position


async def committed_positions(
    coordinator: Any, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Position]:
    """What is committed for those of `partitions` that have a commit; `coordinator` is aiokafka's.

    Asks once: who calls tries again.

    Raises:
        aiokafka.errors.KafkaError: the coordinator refused, or did not tell of every partition.
    """
    await coordinator.ensure_coordinator_known()
    numbers = defaultdict(list)
    for partition in partitions:
        numbers[partition.topic].append(partition.partition)
    request = OffsetFetchRequest(coordinator.group_id, list(numbers.items()))
    response = await coordinator._send_req(request)
    _check(coordinator, getattr(response, "error_code", 0))  # not before version 2
    found: dict[TopicPartition, Position] = {}
    for topic, told in response.topics:
        for number, offset, metadata, error_code in told:
            _check(coordinator, error_code)
            found[TopicPartition(topic, number)] = Position(offset, metadata or "")
    if silent := set(partitions) - found.keys():
        raise KafkaError(f"the coordinator did not tell of {', '.join(map(str, sorted(silent)))}")
    return {partition: position for partition, position in found.items() if position.offset >= 0}


def _check(coordinator: Any, code: int) -> None:
    error = for_code(code)
    if error in (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
        coordinator.coordinator_dead()  # look for it again the next time
    if error is not NoError:
        raise error(f"offsets of the group {coordinator.group_id}")
