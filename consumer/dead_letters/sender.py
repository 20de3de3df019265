"""Sends records that are no event to the dead-letter topic, with the reason and untouched bytes.

A dead letter is delivered before the batch it came from is committed, so a crash in between sends
it again: its coordinates (`topic_id`, `partition`, `offset`) tell that it is the same one. A record
that no letter could be made of would stop its partition for ever: there must be none.
"""

import asyncio
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.log.unread import UnreadRecord
from usagepipe.consumer.protocol.topic_identity import topic_identity
from usagepipe.consumer.rows.rows import Rejected
from usagepipe.consumer.topics.kafka_credentials import aiokafka_options
from usagepipe.schemas.kafka_settings import KafkaSettings

log = structlog.get_logger()

# The topic's limit is one of compressed bytes: a record may hold many times more, and the letter
# with it. The client would compare what is not compressed yet, so the broker alone is to judge.
NO_CLIENT_LIMIT = 1 << 30


class DeadLetters:
    """Producer of the dead-letter topic. Connects at the first letter: most workers send none."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def send(
        self, rejected: Iterable[Rejected], partition: TopicPartition, topic_id: str
    ) -> None:
        """Deliver a letter for each of `rejected`; returns when the brokers have them all.

        Raises:
            aiokafka.errors.KafkaError: some may be delivered and some not; send all again.
        """
        producer = await self._started()
        letters = [(letter, _headers(letter, partition, topic_id)) for letter in rejected]
        deliveries = [
            await producer.send(
                self._topic, value=letter.record.value, key=_key(letter), headers=headers
            )
            for letter, headers in letters
        ]
        outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
        for (letter, headers), outcome in zip(letters, outcomes, strict=True):
            if isinstance(outcome, MessageSizeTooLargeError):
                await self._send_without_value(producer, letter, headers)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _send_without_value(
        self, producer: AIOKafkaProducer, letter: Rejected, headers: list[tuple[str, bytes]]
    ) -> None:
        """Tell at least where the record is, while its own topic keeps it."""
        size = len(letter.record.value or b"")
        log.warning("dead_letter_too_large", offset=letter.record.offset, value_bytes=size)
        headers = [*headers, ("omitted_value_bytes", str(size).encode())]
        await producer.send_and_wait(self._topic, key=letter.record.key or b"", headers=headers)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **aiokafka_options(self._kafka),
                    # Not idempotent: a letter that came twice is told by its coordinates, while
                    # aiokafka's idempotent producer is dead for good after one refused batch.
                    acks="all",
                    compression_type="zstd",
                    max_request_size=NO_CLIENT_LIMIT,
                )
                try:
                    await producer.start()
                    # The client would let the broker make a topic that nobody made, with settings
                    # of the broker's own.
                    await topic_identity(producer.client, self._topic)
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


def _key(letter: Rejected) -> bytes | None:
    """The record's key. A tombstone without one gets an empty one: the client sends no nothing."""
    key = letter.record.key
    return b"" if key is None and letter.record.value is None else key


def _headers(letter: Rejected, partition: TopicPartition, topic_id: str) -> list[tuple[str, bytes]]:
    record = letter.record
    fields: dict[str, object] = {
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": partition.topic,
        "topic_id": topic_id,
        "partition": partition.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
    }
    if letter.code is not None:
        fields |= {"code": letter.code, "column": letter.column}
    if isinstance(record, UnreadRecord):
        known = record.value_bytes
        fields["omitted_value_bytes"] = "" if known is None else known
    return [(name, str(value).encode()) for name, value in fields.items()]
