"""Reads the group's committed positions over aiokafka's coordinator."""

from collections.abc import Collection
from typing import Any

from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics import committed_offsets


async def committed_positions(
    coordinator: Any, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Position]:
    """The committed position of each of `partitions` that has one; `coordinator` is aiokafka's.

    It asks once: the caller retries.

    Raises:
        aiokafka.errors.KafkaError: the coordinator refused, or its answer lacks a partition.
    """
    await coordinator.ensure_coordinator_known()
    try:
        return await committed_offsets.committed_positions(
            coordinator._send_req, coordinator.group_id, partitions
        )
    except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
        coordinator.coordinator_dead()  # aiokafka looks for it again at the next call
        raise
