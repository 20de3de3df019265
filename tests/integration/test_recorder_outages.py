"""The recorder delivers each event once after an outage, without a spill."""

import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.events import event
from tests.support.logs import capture_logs
from tests.support.topics import make_topics, sequences
from usagepipe.local.broker import EmbeddedBroker
from usagepipe.producer import UsageRecorder

SECONDS = 30

# With a spill, events in flight are on the topic twice if Kafka is slow (on a busy machine, say).
pytestmark = pytest.mark.usefixtures("no_spill")


def test_queued_events_arrive_once_when_kafka_comes_back(crashable_kafka: ApacheKafka) -> None:
    """T-13: killed with events under way, Kafka finds each of them once when it is back."""
    topic = "usage.events.v1"
    make_topics(crashable_kafka.bootstrap, topic, 2)
    with UsageRecorder(kafka=crashable_kafka.bootstrap, topic=topic) as recorder:
        for _ in range(500):
            recorder.record(event())
        crashable_kafka.kill()
        with capture_logs() as logs:
            for _ in range(500):
                recorder.record(event())
            waiting = recorder.flush(timeout=1)
            crashable_kafka.start()
            left = recorder.flush(SECONDS)

        assert waiting >= 500
        assert 0 == left
        assert {} == recorder.snapshot().dropped
        assert 1_000 == recorder.snapshot().delivered
        assert len(logs) <= 2  # away, and back
    seen = sequences(crashable_kafka.bootstrap, topic)
    assert {recorder.producer_id: list(range(1, 1_001))} == seen


def test_events_wait_for_a_topic_that_is_not_made_yet(kafka: str, topic_name: str) -> None:
    """A gateway started before `usagepipe migrate` loses nothing."""
    with UsageRecorder(kafka=kafka, topic=topic_name) as recorder:
        recorder.record(event())
        waiting = recorder.flush(timeout=1)

        make_topics(kafka, topic_name, 1)
        left = recorder.flush(SECONDS)

    assert (1, 0) == (waiting, left)
    assert {recorder.producer_id: [1]} == sequences(kafka, topic_name)


def test_broker_that_lost_its_memory_gets_the_events(topic_name: str) -> None:
    """The laptop's broker forgets the producer when it restarts: a new handle takes over."""
    with EmbeddedBroker() as broker:
        make_topics(broker.address, topic_name, 2)
        recorder = UsageRecorder(kafka=broker.address, topic=topic_name)
        recorder.record(event())
        recorder.flush(SECONDS)
    for _ in range(100):
        recorder.record(event())

    with EmbeddedBroker(broker.port) as broker:
        make_topics(broker.address, topic_name, 2)
        left = recorder.flush(SECONDS)
        # This broker reports the first record of the last batch as its end: send a batch of one.
        recorder.record(event())
        recorder.close()
        seen = sequences(broker.address, topic_name)

    assert 0 == left
    assert {recorder.producer_id: list(range(2, 103))} == seen
    assert (102, {}) == (recorder.snapshot().delivered, recorder.snapshot().dropped)
