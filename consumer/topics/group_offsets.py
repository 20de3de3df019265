"""Reads and commits a group's offsets, and reads its members, for commands outside the group.

A group with members refuses a commit from outside, so each program commits in its own group.
Reading is always allowed. aiokafka reads the offsets: confluent-kafka expects a NUL at the end of
the metadata, and without one it reads memory that does not belong to it.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Place

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics.committed_offsets import committed_positions
from usagepipe.consumer.topics.epoch_borders import epoch_borders
from usagepipe.consumer.topics.kafka_session import PAUSE_SECONDS, KafkaSession
from usagepipe.consumer.topics.leaders import raise_error
from usagepipe.consumer.topics.log_reader import translated
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.settings.kafka import KafkaSettings

STABLE: Final = "stable"  # Kafka's word for a group that is not rebalancing
NO_GROUP: Final = "dead"  # Kafka's word for a group that does not exist
JOIN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Member:
    """A process in the group, and the partitions of one topic that it consumes.

    `partitions` is None if the broker does not say what the member consumes.
    """

    client_id: str
    host: str
    partitions: tuple[int, ...] | None


class GroupOffsets:
    """The offsets of one group. Use it in one thread, without a running event loop; close it."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        """Connects at the first call."""
        self._kafka = kafka
        self._group = group
        self._session = KafkaSession(kafka)
        self._writer: Consumer | None = None

    def close(self) -> None:
        """End the connections."""
        self._session.close()
        if self._writer is not None:
            self._writer.close()

    def read(self, topic: str, partitions: Sequence[int]) -> dict[int, Position]:
        """The committed position of each of the partitions that has one.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the coordinator refused, or its answer lacks a partition.
        """
        places = [TopicPartition(topic, partition) for partition in partitions]
        found = self._session.run(partial(self._read, places))
        return {
            place.partition: Position(offset, metadata.rstrip("\0"))
            for place, (offset, metadata) in found.items()
        }

    async def _read(
        self, places: Sequence[TopicPartition], admin: Any
    ) -> dict[TopicPartition, Position]:
        coordinator = await admin.find_coordinator(self._group)

        async def ask(request: Any) -> Any:
            return await admin._send_request(request, coordinator)

        return await committed_positions(ask, self._group, places)

    def members(self, topic: str) -> tuple[str, tuple[Member, ...]]:
        """The group's state, as Kafka names it in lower case, and its members.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the broker refuses to describe the group.
        """
        return self._session.run(partial(self._members, topic))

    async def _members(self, topic: str, admin: Any) -> tuple[str, tuple[Member, ...]]:
        (answer,) = await admin.describe_consumer_groups([self._group])
        ((code, _, state, _, _, members),) = answer.groups
        raise_error(code, f"the group {self._group}")
        return state.lower(), tuple(_member(each, topic) for each in members)

    def unconsumed(self, topic: str, partitions: Sequence[int]) -> list[int]:
        """The partitions that no member consumes.

        Blocks for up to `JOIN_SECONDS`: a worker that has just started is not in the group yet.
        """
        deadline = time.monotonic() + JOIN_SECONDS
        while partitions and (alone := unconsumed(partitions, *self.members(topic))):
            if time.monotonic() > deadline:
                return alone
            time.sleep(PAUSE_SECONDS)
        return []

    def epoch_borders(self, topic: str, partition: int, low: int, high: int) -> list[int] | None:
        """The offsets between `low` and `high` where a leader epoch of the log begins.

        None: the broker does not know the request.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the broker refuses to answer.
        """
        place = TopicPartition(topic, partition)
        return self._session.ask_leaders(
            topic, lambda client: epoch_borders(client, place, low, high)
        )

    def commit(self, topic: str, partition: int, offset: int, metadata: str) -> None:
        """Commit, and wait for the answer.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the group refuses, for example because it has members.
        """
        if self._writer is None:
            self._writer = Consumer(
                librdkafka_config(self._kafka)
                | {
                    "group.id": self._group,  # it never joins the group
                    "enable.auto.commit": False,
                    "log_level": 0,  # the command's error reports a failure
                }
            )
        place = Place(topic, partition, offset, metadata)
        with translated(self._kafka):
            (committed,) = self._writer.commit(offsets=[place], asynchronous=False)
            if committed.error:
                raise KafkaException(committed.error)


def unconsumed(partitions: Iterable[int], state: str, members: Sequence[Member]) -> list[int]:
    """The partitions that no member consumes, of a group in this `state`.

    Empty while that is unclear: during a rebalance every partition is about to get a member, and
    some brokers (Tansu, of `usagepipe local`) do not say what a member consumes.
    """
    unclear = state != STABLE or any(each.partitions is None for each in members)
    if members and unclear:
        return []
    taken = {number for each in members for number in each.partitions or ()}
    return [number for number in partitions if number not in taken]


def _member(described: tuple[str, str, str, bytes, bytes], topic: str) -> Member:
    member_id, client_id, host, _, assigned = described
    partitions = None
    if assigned:
        places = ConsumerProtocolMemberAssignment.decode(assigned).assignment
        partitions = tuple(sorted(n for name, numbers in places if name == topic for n in numbers))
    return Member(client_id or member_id, host.lstrip("/"), partitions)
