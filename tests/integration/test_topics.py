"""The topics as `migrate` makes them, on a real broker."""

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    ConfigResource,
    NewTopic,
)

from tests.support.ports import lasting_port
from usagepipe.schemas import Settings
from usagepipe.schemas.errors import ServerUnavailableError, UsagePipeError
from usagepipe.schemas.topic_admin import Difference, EnsuredTopic, ensure_topics
from usagepipe.schemas.topics import dead_letter_topic

SECONDS = 30


def ensured(kafka: str, topic: str, **more: object) -> tuple[EnsuredTopic, ...]:
    return ensure_topics(Settings.load(kafka=kafka, topic=topic, **more), wait_seconds=SECONDS)


def test_both_topics_are_made_as_wanted(kafka: str, topic_name: str) -> None:
    """Events and dead letters, with every setting that the specification names."""
    topics = ensured(kafka, topic_name, topic_partitions=3)

    assert [(topic_name, True, 3), (dead_letter_topic(topic_name), True, 1)] == [
        (topic.spec.name, topic.created, topic.spec.partitions) for topic in topics
    ]
    admin = AdminClient({"bootstrap.servers": kafka})
    for topic in topics:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic.spec.name)
        live = admin.describe_configs([resource])[resource].result(SECONDS)
        assert topic.spec.config == {name: live[name].value for name in topic.spec.config}
        found = admin.list_topics(topic.spec.name, SECONDS).topics[topic.spec.name]
        assert topic.spec.partitions == len(found.partitions)


def test_a_second_run_finds_them_as_they_are(kafka: str, topic_name: str) -> None:
    """Nothing is made, nothing differs."""
    ensured(kafka, topic_name)

    again = ensured(kafka, topic_name)

    assert [(False, ())] * 2 == [(topic.created, topic.differences) for topic in again]


def test_differences_are_reported_and_left_alone(kafka: str, topic_name: str) -> None:
    """The owner of a topic may have reasons; only its compaction loses events."""
    topic = NewTopic(topic_name, 2, 1, config={"cleanup.policy": "compact"})
    admin = AdminClient({"bootstrap.servers": kafka})  # kept: it gives up when it is collected
    admin.create_topics([topic])[topic_name].result(SECONDS)

    for _ in range(2):
        events, _letters = ensured(kafka, topic_name, topic_partitions=5)

    assert not events.created
    assert Difference("partitions", "5", "2") in events.differences
    assert [Difference("cleanup.policy", "delete", "compact")] == [
        difference for difference in events.differences if difference.harmful
    ]


def test_a_broker_that_is_away_is_named() -> None:
    """The error names the address that was tried."""
    kafka = f"127.0.0.1:{lasting_port()}"

    with pytest.raises(ServerUnavailableError, match=f"Kafka at {kafka} cannot be reached"):
        ensure_topics(Settings.load(kafka=kafka))


def test_a_refusal_of_the_broker_is_reported(kafka: str, topic_name: str) -> None:
    """More replicas than brokers is an answer, and no absence."""
    with pytest.raises(UsagePipeError, match="INVALID_REPLICATION_FACTOR") as caught:
        ensured(kafka, topic_name, topic_replication=99)

    assert not isinstance(caught.value, ServerUnavailableError)
