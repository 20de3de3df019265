"""Dead letters for tests, written by the worker's own producer or by hand; and `usagepipe dlq`."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.support import topics
from tests.support.waiting import eventually
from usagepipe.cli.root import run
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.consumer.rows.rows import Rejected
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas import Settings
from usagepipe.schemas.topics import dead_letter_topic

SECONDS = 60
Output = pytest.CaptureFixture[str]


def write_dead_letters(
    kafka: str,
    topic: str,
    *records: Record,
    reason: str = "not_json",
    partition: int = 1,
    topic_id: str | None = None,
) -> None:
    """Send dead letters of `records`, as a worker does."""
    letter_topic = dead_letter_topic(topic)
    eventually(partial(topics.exists, kafka, letter_topic), SECONDS, "the topic of letters")
    identity = topic_id or topic_id_of(kafka, topic)

    async def send() -> None:
        letters = DeadLetterProducer(Settings.load(kafka=kafka), letter_topic)
        rejected = [Rejected(record, reason, "in full") for record in records]
        try:
            async with asyncio.timeout(SECONDS):
                await letters.send(rejected, TopicPartition(topic, partition), identity)
        finally:
            await letters.close()

    asyncio.run(send())


def await_topics(kafka: str, topic: str) -> None:
    """Return when a new topic and its dead-letter topic are visible to all clients."""
    for name in (topic, dead_letter_topic(topic)):
        eventually(partial(topics.exists, kafka, name), SECONDS, f"topic {name}")


def topic_id_of(kafka: str, topic: str) -> str:
    with closing(LogReader(Settings.load(kafka=kafka), topic)) as reader:
        return reader.topic_id()


def put_records(
    kafka: str,
    topic: str,
    records: Iterable[tuple[bytes, bytes | None, dict[str, str]]],
    partition: int = 1,
) -> None:
    """Send keys, values and headers of any kind."""
    producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": 100_000_000})
    errors: list[object] = []
    for key, value, headers in records:
        producer.produce(
            topic,
            value,
            key,
            partition=partition,
            headers=list(headers.items()),
            on_delivery=lambda error, _: errors.append(error),
        )
    assert 0 == producer.flush(SECONDS)
    assert {None} == set(errors)


def headers_of(topic: str, topic_id: str, offset: int, **more: str) -> dict[str, str]:
    """The headers of a dead letter about a record of partition 1."""
    return {
        "reason": "refused_by_clickhouse",
        "detail": "Cannot parse",
        "topic": topic,
        "topic_id": topic_id,
        "partition": "1",
        "offset": str(offset),
        "timestamp": "1700000000123",
    } | more


def values(kafka: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of all records of a topic, in an order of their own."""
    return sorted(((r.key, r.value) for r in topics.read(kafka, topic)), key=repr)


class DlqCommand:
    """Runs `usagepipe dlq …` on one topic."""

    def __init__(self, kafka: str, topic: str, capsys: Output) -> None:
        self._servers = ("--kafka", kafka, "--topic", topic)
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, name: str, *arguments: str) -> int:
        self._capsys.readouterr()
        status = run(["dlq", name, *self._servers, *arguments])
        self.out, self.err = self._capsys.readouterr()
        return status

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        assert 0 == self("list", "--json", *arguments), self.err
        return [json.loads(line) for line in self.out.splitlines()]
