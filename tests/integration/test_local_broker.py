"""The embedded broker: a real one, in memory, that never outlives its maker."""

import time
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    NewTopic,
)

from tests.support.topics import make_topics
from usagepipe.consumer.dead_letters.record import Selection
from usagepipe.consumer.dead_letters.topic import DeadLetterTopic
from usagepipe.consumer.maintenance.replay_plan import ReplayRequest, plan_part
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.local.broker import EmbeddedBroker
from usagepipe.schemas import Settings
from usagepipe.schemas.errors import ServerUnavailableError, UsagePipeError


def make_topic(address: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    for made in admin.create_topics([NewTopic("t", num_partitions=2)]).values():
        made.result(30)


def topics(address: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).topics)


def test_record_goes_through() -> None:
    """What is produced is consumed, with key and headers."""
    with EmbeddedBroker() as broker:
        make_topic(broker.address)
        producer = Producer({"bootstrap.servers": broker.address, "acks": "all"})
        producer.produce("t", b"value", b"key", headers={"a": b"b"})
        undelivered = producer.flush(30)
        consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "g"})
        consumer.assign([TopicPartition("t", 0, 0), TopicPartition("t", 1, 0)])
        deadline, record = time.monotonic() + 30, None
        while record is None and time.monotonic() < deadline:
            record = consumer.poll(1)
        consumer.close()

    assert 0 == undelivered
    assert record is not None
    assert (b"key", b"value", [("a", b"b")]) == (record.key(), record.value(), record.headers())


def test_broker_forgets_everything_when_it_stops() -> None:
    """It keeps its topics in memory, as the user is warned."""
    broker = EmbeddedBroker()
    with broker:
        make_topic(broker.address)
        before = topics(broker.address)
    with EmbeddedBroker(broker.port) as again:
        after = topics(again.address)

    assert (True, False) == ("t" in before, "t" in after)


def test_broker_that_dies_at_once_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the end of its output and its status."""
    program = tmp_path / "tansu"
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 4\n")
    program.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(program))

    with pytest.raises(ServerUnavailableError, match=r"status 4.*out of luck"):
        EmbeddedBroker().start()


def test_a_missing_broker_is_reported_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without the embedded broker can use another Kafka."""
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "none"))

    with pytest.raises(UsagePipeError, match="--no-kafka"):
        EmbeddedBroker().start()


def test_letters_of_the_last_record_batch_are_found() -> None:
    """The broker reports an end inside it."""
    with EmbeddedBroker() as broker:
        settings = Settings.load(kafka=broker.address)
        make_topics(settings.kafka, settings.topic, 1)
        producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 500})
        for offset in range(9):
            headers: dict[str, str | bytes | None] = {
                "topic": "t",
                "topic_id": "id",
                "partition": "0",
                "offset": str(offset),
                "reason": "not_json",
            }
            producer.produce(settings.dead_letter_topic, b"no event", headers=headers)
        undelivered = producer.flush(30)
        with closing(DeadLetterTopic(settings)) as letters:
            found = [each.envelope.coordinates.offset for each in letters.read(Selection())]

    assert (0, list(range(9))) == (undelivered, found)


def test_a_replay_reads_the_last_record_batch() -> None:
    """The broker reports an end inside it."""
    with EmbeddedBroker() as broker:
        settings = Settings.load(kafka=broker.address)
        make_topics(settings.kafka, settings.topic, 1)
        producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 500})
        for _ in range(9):
            producer.produce(settings.topic, b"value")
        producer.flush(30)
        with closing(LogReader(settings, settings.topic)) as log:
            part = plan_part(log, 0, ReplayRequest(), Position(9))
            read = [message.offset() for message in log.read(0, part.first, part.end)]

    assert list(range(9)) == read
