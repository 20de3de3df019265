"""Sends records that are no event to the dead-letter topic, with the reason and untouched bytes.

A dead letter is delivered before the batch it came from is committed, so a crash in between sends
it again: its coordinates (`topic_id`, `partition`, `offset`) tell that it is the same one.
"""

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer

from usagepipe.consumer.records import TopicPartition
from usagepipe.consumer.rows import Rejected
from usagepipe.schemas.topics import MAX_DEAD_LETTER_BYTES


class DeadLetters:
    """Producer of the dead-letter topic. Connects at the first letter: most workers send none."""

    def __init__(self, kafka: str, topic: str) -> None:
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
        deliveries = [
            await producer.send(
                self._topic,
                value=letter.record.value,
                key=letter.record.key,
                headers=_headers(letter, partition, topic_id),
            )
            for letter in rejected
        ]
        await asyncio.gather(*deliveries)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._kafka,
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=MAX_DEAD_LETTER_BYTES,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


def _headers(letter: Rejected, partition: TopicPartition, topic_id: str) -> list[tuple[str, bytes]]:
    record = letter.record
    fields = {
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": partition.topic,
        "topic_id": topic_id,
        "partition": partition.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
    }
    return [(name, str(value).encode()) for name, value in fields.items()]
