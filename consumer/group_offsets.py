"""Reads and commits a group's offsets from outside of it, for commands.

A group that has members refuses a commit from outside; so each program commits in a group of its
own. Reading is always allowed. It is aiokafka that reads: confluent-kafka takes what was committed
beside an offset for a text that ends with a NUL, and reads on into foreign memory if it does not.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Place

from usagepipe.consumer.log_reader import REQUEST_SECONDS, translated
from usagepipe.consumer.records import TopicPartition
from usagepipe.schemas.errors import ServerUnavailableError, UsagePipeError

_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.5  # a coordinator that has just moved reads its log first


class GroupOffset(NamedTuple):
    """The next offset that the group reads, and what was committed beside it."""

    offset: int
    metadata: str


class GroupOffsets:
    """The offsets of one group. Use it in one thread, without a running event loop; close it."""

    def __init__(self, kafka: str, group: str) -> None:
        """Connects at the first call."""
        self._kafka = kafka
        self._group = group
        self._runner = asyncio.Runner()
        self._reader: Any = None
        self._writer: Consumer | None = None

    def close(self) -> None:
        if self._reader is not None:
            self._runner.run(self._reader.close())
        self._runner.close()
        if self._writer is not None:
            self._writer.close()

    def read(self, topic: str, partitions: Sequence[int]) -> dict[int, GroupOffset]:
        """What is committed, of those partitions that have a commit.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the group's coordinator did not tell of every partition.
        """
        try:
            return self._runner.run(self._read(topic, partitions))
        except (KafkaConnectionError, KafkaTimeoutError, TimeoutError) as error:
            raise ServerUnavailableError("Kafka", self._kafka, str(error)) from error
        except KafkaError as error:
            raise UsagePipeError(f"Kafka at {self._kafka} refused: {error}") from error

    async def _read(self, topic: str, partitions: Sequence[int]) -> dict[int, GroupOffset]:
        if self._reader is None:
            reader = AIOKafkaAdminClient(
                bootstrap_servers=self._kafka, request_timeout_ms=int(REQUEST_SECONDS * 1000)
            )
            await reader.start()
            self._reader = reader
        asked = [TopicPartition(topic, partition) for partition in partitions]
        for _ in range(_TRIES):
            found = await self._reader.list_consumer_group_offsets(self._group, partitions=asked)
            # An error of the whole group is an empty answer: it must not be taken for no commits.
            if all(place in found for place in asked):
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            raise UsagePipeError(f"Kafka told not all offsets of the group {self._group}.")
        return {
            place.partition: GroupOffset(offset, (metadata or "").rstrip("\0"))
            for place, (offset, metadata) in found.items()
            if offset >= 0
        }

    def commit(self, topic: str, partition: int, offset: int, metadata: str) -> None:
        """Commit and wait until it is kept.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the group refuses, as one with members does.
        """
        if self._writer is None:
            self._writer = Consumer(
                {
                    "bootstrap.servers": self._kafka,
                    "group.id": self._group,  # named, never joined
                    "enable.auto.commit": False,
                    "log_level": 0,  # a failure is told once, as the command's error
                }
            )
        place = Place(topic, partition, offset, metadata)
        with translated(self._kafka):
            (kept,) = self._writer.commit(offsets=[place], asynchronous=False)
            if kept.error:
                raise KafkaException(kept.error)
