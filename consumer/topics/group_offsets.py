"""Reads and commits a group's offsets, and reads its members, for commands outside the group.

A group with members refuses a commit from outside, so each program commits in its own group.
Reading is always allowed. aiokafka reads the offsets: confluent-kafka expects a NUL at the end of
the metadata, and without one it reads memory that does not belong to it.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    LeaderNotAvailableError,
    NotCoordinatorForGroupError,
    NotLeaderForPartitionError,
    for_code,
)
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Place

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics.aiokafka_errors import aiokafka_errors
from usagepipe.consumer.topics.committed_offsets import committed_positions
from usagepipe.consumer.topics.epoch_borders import epoch_borders
from usagepipe.consumer.topics.kafka_credentials import aiokafka_options
from usagepipe.consumer.topics.log_reader import REQUEST_SECONDS, translated
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.settings.kafka import KafkaSettings

Result = TypeVar("Result")

STABLE: Final = "stable"  # Kafka's word for a group that is not rebalancing
NO_GROUP: Final = "dead"  # Kafka's word for a group that does not exist
JOIN_SECONDS: Final = 10.0
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.5  # a new coordinator loads its log first

_MOVED: Final = (
    CoordinatorLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    LeaderNotAvailableError,
    NotCoordinatorForGroupError,
    NotLeaderForPartitionError,
)


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
        self._runner = asyncio.Runner()
        self._reader: Any = None
        self._writer: Consumer | None = None

    def close(self) -> None:
        """End the connections."""
        if self._reader is not None:
            self._runner.run(self._reader.close())
        self._runner.close()
        if self._writer is not None:
            self._writer.close()

    def read(self, topic: str, partitions: Sequence[int]) -> dict[int, Position]:
        """The committed position of each of the partitions that has one.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the coordinator refused, or its answer lacks a partition.
        """
        return self._run(lambda: self._read(topic, partitions))

    async def _read(self, topic: str, partitions: Sequence[int]) -> dict[int, Position]:
        reader = await self._connected()
        coordinator = await reader.find_coordinator(self._group)
        found = await committed_positions(
            lambda request: reader._send_request(request, coordinator),
            self._group,
            [TopicPartition(topic, partition) for partition in partitions],
        )
        return {
            place.partition: Position(offset, metadata.rstrip("\0"))
            for place, (offset, metadata) in found.items()
        }

    def members(self, topic: str) -> tuple[str, tuple[Member, ...]]:
        """The group's state, as Kafka names it in lower case, and its members.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the broker refuses to describe the group.
        """
        return self._run(lambda: self._members(topic))

    async def _members(self, topic: str) -> tuple[str, tuple[Member, ...]]:
        reader = await self._connected()
        (answer,) = await reader.describe_consumer_groups([self._group])
        ((code, _, state, _, _, members),) = answer.groups
        if code:
            raise for_code(code)(f"describing the group {self._group}")
        return state.lower(), tuple(_member(each, topic) for each in members)

    def unconsumed(self, topic: str, partitions: Sequence[int]) -> list[int]:
        """The partitions that no member consumes.

        Blocks for up to `JOIN_SECONDS`: a worker that has just started is not in the group yet.
        """
        deadline = time.monotonic() + JOIN_SECONDS
        while partitions and (alone := unconsumed(partitions, *self.members(topic))):
            if time.monotonic() > deadline:
                return alone
            time.sleep(_PAUSE_SECONDS)
        return []

    def epoch_borders(
        self, topic: str, partition: int, low: int, high: int
    ) -> Sequence[int] | None:
        """The offsets between `low` and `high` where a leader epoch of the log begins.

        None: the broker does not know the request.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the broker refuses to answer.
        """
        return self._run(lambda: self._epoch_borders(TopicPartition(topic, partition), low, high))

    async def _epoch_borders(
        self, partition: TopicPartition, low: int, high: int
    ) -> Sequence[int] | None:
        client = (await self._connected())._client
        await client.add_topic(partition.topic)  # so that its leaders are known
        return await epoch_borders(client, partition, low, high)

    async def _connected(self) -> Any:
        if self._reader is None:
            reader = AIOKafkaAdminClient(
                **aiokafka_options(self._kafka), request_timeout_ms=int(REQUEST_SECONDS * 1000)
            )
            await reader.start()
            self._reader = reader
        return self._reader

    def _run(self, ask: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        with aiokafka_errors(self._kafka):
            return self._runner.run(_patiently(ask))

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


async def _patiently(ask: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Retry while the group has no coordinator, or a partition no leader, as after a start."""
    for _ in range(_TRIES - 1):
        with suppress(*_MOVED):
            return await ask()
        await asyncio.sleep(_PAUSE_SECONDS)
    return await ask()
