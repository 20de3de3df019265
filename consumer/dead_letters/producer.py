"""Sends rejected records to the dead-letter topic, untouched, with the reason in the headers.

A dead letter is delivered before the batch of its record is committed, so a crash in between sends
it again: equal coordinates (`topic_id`, `partition`, `offset`) identify it. Every record must fit
into some dead letter. One that did not would stop its partition for ever.
"""

import asyncio
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.log.unreadable import UnreadableRecord
from usagepipe.consumer.rows.rows import Rejected
from usagepipe.consumer.topics.kafka_credentials import aiokafka_options
from usagepipe.consumer.topics.topic_identity import topic_identity
from usagepipe.schemas.settings.kafka import KafkaSettings

log = structlog.get_logger()

# The topic limits compressed bytes, and the client compares uncompressed ones. A record may hold
# many times more than its compressed size, so only the broker decides.
NO_CLIENT_LIMIT = 1 << 30


class DeadLetterProducer:
    """Producer of the dead-letter topic. Connects at the first send: most workers send nothing."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def send(
        self, rejected: Iterable[Rejected], partition: TopicPartition, topic_id: str
    ) -> None:
        """Send a dead letter for each of `rejected`; returns when the brokers have them all.

        Raises:
            aiokafka.errors.KafkaError: some may have arrived; send all of them again.
        """
        producer = await self._started()
        sent = [(each, _headers(each, partition, topic_id)) for each in rejected]
        deliveries = [
            await producer.send(
                self._topic, value=each.record.value, key=_key(each), headers=headers
            )
            for each, headers in sent
        ]
        outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
        for (each, headers), outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, MessageSizeTooLargeError):
                await self._send_without_value(producer, each, headers)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _send_without_value(
        self, producer: AIOKafkaProducer, rejected: Rejected, headers: list[tuple[str, bytes]]
    ) -> None:
        """Send the coordinates alone: the record's own topic may still hold the value."""
        size = len(rejected.record.value or b"")
        log.warning("dead_letter_too_large", offset=rejected.record.offset, value_bytes=size)
        headers = [*headers, ("omitted_value_bytes", str(size).encode())]
        await producer.send_and_wait(self._topic, key=rejected.record.key or b"", headers=headers)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **aiokafka_options(self._kafka),
                    # Not idempotent: coordinates identify copies, and aiokafka's idempotent
                    # producer stays broken after one refused batch.
                    acks="all",
                    compression_type="zstd",
                    max_request_size=NO_CLIENT_LIMIT,
                )
                try:
                    await producer.start()
                    # Fails if the topic is missing. Without this check the broker could create it
                    # with its own default settings.
                    await topic_identity(producer.client, self._topic)
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


def _key(rejected: Rejected) -> bytes | None:
    """The record's key; empty for a tombstone without a key, which the client would not send."""
    key = rejected.record.key
    return b"" if key is None and rejected.record.value is None else key


def _headers(
    rejected: Rejected, partition: TopicPartition, topic_id: str
) -> list[tuple[str, bytes]]:
    record = rejected.record
    fields: dict[str, object] = {
        "reason": rejected.reason,
        "detail": rejected.detail,
        "topic": partition.topic,
        "topic_id": topic_id,
        "partition": partition.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
    }
    if rejected.code is not None:
        fields |= {"code": rejected.code, "column": rejected.column}
    if isinstance(record, UnreadableRecord):
        known = record.value_bytes
        fields["omitted_value_bytes"] = "" if known is None else known
    return [(name, str(value).encode()) for name, value in fields.items()]
