"""Reads and commits a group's offsets from outside of it, for commands.

A group that has members refuses a commit from outside; so each program commits in a group of its
own. Reading is always allowed.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from usagepipe.consumer.log_reader import REQUEST_SECONDS, translated

_NONE: Final = 0  # offsets that are no offset are below it


class GroupOffset(NamedTuple):
    """The next offset that the group reads, and what was committed beside it."""

    offset: int
    metadata: str


class GroupOffsets:
    """The offsets of one group. Use it in one thread and close it."""

    def __init__(self, kafka: str, group: str) -> None:
        self._kafka = kafka
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": group,  # named, never joined
                "enable.auto.commit": False,
                "log_level": 0,  # a failure is told once, as the command's error
            }
        )

    def close(self) -> None:
        self._consumer.close()

    def read(self, topic: str, partitions: Sequence[int]) -> dict[int, GroupOffset]:
        """What is committed, of those partitions that have a commit.

        Raises:
            ServerUnavailableError: no broker answered.
        """
        asked = [TopicPartition(topic, partition) for partition in partitions]
        with translated(self._kafka):
            found = self._consumer.committed(asked, REQUEST_SECONDS)
        return {
            place.partition: GroupOffset(place.offset, (place.metadata or "").rstrip("\0"))
            for place in found
            if place.offset >= _NONE
        }

    def commit(self, topic: str, partition: int, offset: int, metadata: str) -> None:
        """Commit and wait until it is kept.

        Raises:
            ServerUnavailableError: no broker answered.
            UsagePipeError: the group refuses, as one with members does.
        """
        place = TopicPartition(topic, partition, offset, metadata)
        with translated(self._kafka):
            (kept,) = self._consumer.commit(offsets=[place], asynchronous=False)
            if kept.error:
                raise KafkaException(kept.error)
