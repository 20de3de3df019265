"""What the consumer's thread asks the group's coordinator: membership, positions, fenced commits.

A part of `ChunkThread`: everything here runs in the consumer's thread.
"""

import asyncio
from collections.abc import Collection, Mapping, Set
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    NotCoordinatorForGroupError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as AIOTopicPartition

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.announcement import CommitMetadata
from usagepipe.consumer.protocol.positions import (
    FencedError,
    Membership,
    PartitionOffsets,
    Position,
)
from usagepipe.consumer.topics import committed_offsets
from usagepipe.consumer.topics.leader_epochs import epoch_ends
from usagepipe.consumer.topics.leaders import log_ends


class GroupSession:
    """The group as aiokafka's consumer sees it."""

    def _ensure_consumer(self) -> AIOKafkaConsumer:
        raise NotImplementedError  # `ChunkThread` inherits it from Faust

    def _current_membership(self) -> Membership:
        coordinator = self._ensure_consumer()._coordinator
        return Membership(coordinator.generation, coordinator.member_id)

    async def _membership(self) -> Membership:
        current = self._current_membership()
        # -1: out of the group until aiokafka has joined it again. Kafka accepts such commits in a
        # group without members, so the fence would stop nothing.
        if current.generation < 0:
            raise FencedError("not in the group")
        return current

    async def _positions(
        self, partitions: Set[TopicPartition]
    ) -> dict[TopicPartition, PartitionOffsets]:
        consumer = self._ensure_consumer()
        committed = await committed_positions(consumer._coordinator, partitions)
        starts = await self._starts(partitions)
        ends = await log_ends(consumer._client, partitions)
        kept = {tp: CommitMetadata.decode(position.metadata) for tp, position in committed.items()}
        epochs = {
            tp: each.leader_epoch
            for tp, each in kept.items()
            if each is not None and each.leader_epoch != UNKNOWN_EPOCH
        }
        epochs_end = await epoch_ends(consumer._client, epochs)
        return {
            tp: PartitionOffsets(committed.get(tp), starts[tp], ends[tp], epochs_end.get(tp))
            for tp in partitions
        }

    async def _starts(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the log of each of `partitions` begins."""
        places = [AIOTopicPartition(*partition) for partition in partitions]
        starts = await self._ensure_consumer().beginning_offsets(places)
        return {TopicPartition(*place): offset for place, offset in starts.items()}

    async def _acknowledged(self, topic: str) -> dict[TopicPartition, int]:
        consumer = self._ensure_consumer()
        numbers = consumer.partitions_for_topic(topic)
        if numbers is None:  # unknown: the metadata is being fetched again
            raise UnknownTopicOrPartitionError(topic)
        partitions = [TopicPartition(topic, number) for number in numbers]
        committed = await committed_positions(consumer._coordinator, partitions)
        # An announcement is a commit.
        return {partition: position.offset for partition, position in committed.items()}

    async def _commit_as(
        self, membership: Membership, positions: Mapping[TopicPartition, Position]
    ) -> None:
        coordinator = self._ensure_consumer()._coordinator
        await coordinator.ensure_coordinator_known()
        offsets = {
            AIOTopicPartition(*tp): OffsetAndMetadata(position.offset, position.metadata)
            for tp, position in positions.items()
        }

        async def commit() -> None:
            # No await between the comparison and the request (aiokafka builds it before its first
            # await), so the generation cannot change in between.
            current = self._current_membership()
            if current != membership:
                raise FencedError(f"was {membership}, is {current}")
            await coordinator._do_commit_offsets(None, offsets)

        async with coordinator._commit_lock:
            sent = asyncio.ensure_future(commit())
            # A request whose caller was cancelled has no one to raise for: read its error, or
            # asyncio logs it.
            sent.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            await asyncio.shield(sent)


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
