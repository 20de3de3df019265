"""A Kafka that answers and refuses: the right to write is missing, or the topic is.

No event is at fault, so each waits on disk until somebody has put that right; and one line of the
log says what it is that has to be put right.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.apache_kafka import ApacheKafka
from tests.support.logs import capture_logs
from tests.support.servers import NoServerError, skip_or_fail
from tests.support.spilling import SECONDS, Away, event, once
from tests.support.topics import make_topics
from tests.support.waiting import eventually
from usagepipe.producer.delivery.kafka_producer_handle import KafkaProducerHandle
from usagepipe.producer.delivery.spill import Spill
from usagepipe.producer.delivery.spill_mode import SpilledBatch
from usagepipe.schemas import Settings

AUTHORIZER = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""
TRIED_AGAIN_SECONDS = 2.5  # what is refused is sent again each second

pytestmark = pytest.mark.one_process


@pytest.fixture(scope="module")
def guarded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """A Kafka that lets everybody do what no rule forbids."""
    try:
        broker = ApacheKafka(tmp_path_factory.mktemp("guarded"), AUTHORIZER)
    except NoServerError as error:
        skip_or_fail("Kafka with an authorizer", "PATH (Java 17 and Maven)", error)
        raise
    with broker:
        _grant_what_is_not_writing(broker)
        yield broker


def _grant_what_is_not_writing(kafka: ApacheKafka) -> None:
    """With any rule on the cluster, a user who may write to no topic gets no producer id."""
    rights = (AclOperation.ALTER, AclOperation.CREATE, AclOperation.CLUSTER_ACTION)
    cluster = (ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, "User:*", "*")
    rules = [AclBinding(*cluster, right, AclPermissionType.ALLOW) for right in rights]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # its answers end with it
    for made in admin.create_acls(rules).values():
        made.result(SECONDS)


class Rule:
    """Nobody may do `operation` on `topic` (`*` is all), from `forbid` to `lift`."""

    def __init__(self, kafka: ApacheKafka, topic: str, operation: AclOperation, cause: str) -> None:
        self.cause = cause  # Kafka's name for it
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        self._terms = (
            *(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL),
            *("User:*", "*", operation, AclPermissionType.DENY),
        )

    def forbid(self) -> None:
        (made,) = self._admin.create_acls([AclBinding(*self._terms)]).values()
        made.result(SECONDS)

    def lift(self) -> None:
        (found,) = self._admin.delete_acls([AclBindingFilter(*self._terms)]).values()
        assert 1 == len(found.result(SECONDS))


@pytest.fixture
def world(guarded_kafka: ApacheKafka, topic_name: str, tmp_path: Path) -> Away:
    """The guarded Kafka, no topic yet, and a folder for the spill."""
    return Away(guarded_kafka, topic_name, tmp_path / "spill")


RULES = {
    "no writing": (AclOperation.WRITE, "", "TOPIC_AUTHORIZATION_FAILED"),
    "no seeing": (AclOperation.DESCRIBE, "", "TOPIC_AUTHORIZATION_FAILED"),
    # A fatal error of the producer: Kafka gives it no id.
    "no writing at all": (AclOperation.WRITE, "*", "CLUSTER_AUTHORIZATION_FAILED"),
}


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest, guarded_kafka: ApacheKafka, world: Away) -> Rule:
    """Not in force yet; its topic is there."""
    operation, topic, cause = RULES[request.param]
    make_topics(guarded_kafka.bootstrap, world.topic, 1)
    return Rule(guarded_kafka, topic or world.topic, operation, cause)


def reported(logs: list[Any]) -> list[tuple[str, str]]:
    """The lines that are more than for debugging: what happened, and Kafka's name for it."""
    loud = [line for line in logs if line["log_level"] != "debug"]
    return [(line["event"], line.get("error", "")) for line in loud]


UNKNOWN = ("kafka_failed", "UNKNOWN_TOPIC_OR_PART")
RECOVERED = ("kafka_recovered", "")


@pytest.mark.parametrize("delivered_before", [0, 100])
def test_events_wait_on_disk_for_the_right_to_write(
    world: Away, rule: Rule, delivered_before: int
) -> None:
    """Without the right from the beginning, or taken away under way: one line says so, and when it
    is granted all events are sent, once and in order."""
    with world.recorder() as recorder, capture_logs() as logs:
        for number in range(delivered_before):
            recorder.record(event(number))
        assert 0 == recorder.flush(SECONDS)
        rule.forbid()
        eventually(lambda: _is_refused(recorder), SECONDS, "Kafka to refuse")
        eventually(lambda: world.spilled() == recorder.snapshot().queued, SECONDS, "all on disk")
        rule.lift()
        left = recorder.flush(SECONDS)
        eventually(lambda: RECOVERED in reported(logs), SECONDS, "the log line of its end")
        snapshot = recorder.snapshot()

    assert (0, {}, snapshot.recorded) == (left, snapshot.dropped, snapshot.delivered)
    numbers = world.numbers()[recorder.producer_id]
    assert list(range(1, snapshot.recorded + 1)) == once(numbers)
    *failures, end = reported(logs)
    assert (RECOVERED, len(set(failures))) == (end, len(failures))
    assert ("kafka_failed", rule.cause) in failures


def _is_refused(recorder: Any) -> bool:
    """Record one more, until what is refused has been sent again as well. Rules take a moment."""
    recorder.record(event())
    return bool(recorder.snapshot().oldest_unsent_seconds > TRIED_AGAIN_SECONDS)


def test_process_that_ends_refused_leaves_its_events_to_the_next(world: Away, rule: Rule) -> None:
    """Refused until its end, a process gives nothing up; the next one has the right and sends."""
    rule.forbid()
    recorder = world.recorder(close_seconds=0.1)
    eventually(lambda: _is_refused(recorder), SECONDS, "Kafka to refuse")

    given_up = recorder.close()
    snapshot = recorder.snapshot()
    rule.lift()
    with world.recorder() as following:
        following.start()
        eventually(lambda: not world.files(), SECONDS, "the files to be sent")

    numbers = once(world.numbers()[recorder.producer_id])
    assert (0, {}) == (given_up, snapshot.dropped)
    assert list(range(1, snapshot.recorded + 1)) == numbers


def learn(handle: KafkaProducerHandle, topic: str) -> None:
    """Stands for what librdkafka does each five minutes: ask for the topic. From then on it refuses
    events at once, in `produce`, without asking Kafka."""
    with suppress(KafkaException):
        handle._producer.list_topics(topic, timeout=SECONDS)  # type: ignore[union-attr]


@pytest.mark.parametrize("spill", [True, False], ids=["spill", "memory"])
def test_events_that_librdkafka_refuses_at_once_wait_for_the_right_to_write(
    world: Away, guarded_kafka: ApacheKafka, spill: bool
) -> None:
    """The right is taken away while the process is quiet, and librdkafka has learnt of it: the
    events are at no fault, and wait on disk, or without a spill in memory."""
    make_topics(guarded_kafka.bootstrap, world.topic, 1)
    cause = "TOPIC_AUTHORIZATION_FAILED"
    rule = Rule(guarded_kafka, world.topic, AclOperation.ALL, cause)
    options = {} if spill else {"spill_dir": ""}
    with world.recorder(**options) as recorder, capture_logs() as logs:
        recorder.record(event())
        assert 0 == recorder.flush(SECONDS)
        rule.forbid()
        handle = recorder._outbox()._delivery._handle

        def is_refused() -> bool:
            learn(handle, world.topic)
            recorder.record(event())
            return ("kafka_failed", cause) in reported(logs)

        def is_refused_again() -> bool:
            recorder.record(event())
            retreats = [line["event"] for line in logs].count("events_taken_back")
            return retreats >= (1 if spill else 3)  # from memory they are sent again each second

        eventually(is_refused, SECONDS, "Kafka to refuse")
        eventually(is_refused_again, SECONDS, "Kafka to refuse again")
        rule.lift()
        left = recorder.flush(SECONDS)
        snapshot = recorder.snapshot()

    assert (0, {}, snapshot.recorded) == (left, snapshot.dropped, snapshot.delivered)
    assert list(range(1, snapshot.recorded + 1)) == once(world.numbers()[recorder.producer_id])


def test_files_that_librdkafka_refuses_at_once_stay(
    world: Away, guarded_kafka: ApacheKafka
) -> None:
    """No event of a file is refused for good because of what librdkafka has learnt of the topic."""
    make_topics(guarded_kafka.bootstrap, world.topic, 1)
    settings = Settings.load(**world.settings)
    handle = KafkaProducerHandle(settings, patience_seconds=SECONDS)
    spill = Spill(settings, "me")
    spill.open()
    spill.write([(b"k", b"first"), (b"k", b"second")], ())
    handle.produce((b"k", b"before"))
    rule = Rule(guarded_kafka, world.topic, AclOperation.ALL, "")
    rule.forbid()

    def knows() -> bool:
        learn(handle, world.topic)
        handle.produce((b"k", b"meanwhile"))
        return handle.is_dead

    eventually(knows, SECONDS, "librdkafka to know that Kafka refuses")
    batch = SpilledBatch(spill, spill.take(1))
    batch.send(handle)
    rule.lift()

    assert (2, False, []) == (batch.events, batch.is_sent, batch.refused)


def test_handle_that_was_refused_takes_no_more(world: Away, guarded_kafka: ApacheKafka) -> None:
    """librdkafka refuses at once what comes after it has heard of the topic: that is no fault of
    the event either, and another handle gets it."""
    make_topics(guarded_kafka.bootstrap, world.topic, 1)
    rule = Rule(guarded_kafka, world.topic, AclOperation.DESCRIBE, "")
    handle = KafkaProducerHandle(Settings.load(**world.settings), patience_seconds=SECONDS)
    rule.forbid()

    handle.produce((b"key", b"first"))
    eventually(lambda: _served(handle).returned, SECONDS, "Kafka's answer")
    taken = handle.produce((b"key", b"second"))

    assert (False, True) == (taken, handle.is_dead)
    assert ([(b"key", b"first")], []) == (handle.take_back(), handle.refused)
    rule.lift()


@pytest.mark.parametrize("rule", ["no writing", "no seeing"], indirect=True)
def test_without_a_spill_what_is_refused_to_the_end_is_counted_once(
    world: Away, rule: Rule
) -> None:
    """It waits in memory and dies with the process: each event is counted, and the gap record of
    those that were lost before, which is refused as well, is no event."""
    rule.forbid()
    with world.recorder(spill_dir="", close_seconds=0.1) as recorder, capture_logs() as logs:
        recorder.record(event().model_copy(update={"user_id": object()}))
        for number in range(100):
            recorder.record(event(number))
        eventually(
            lambda: [line["event"] for line in logs].count("events_taken_back") > 2,
            SECONDS,
            "Kafka to refuse again",
        )
    rule.lift()

    snapshot = recorder.snapshot()
    assert (101, 0, 0) == (snapshot.recorded, snapshot.delivered, snapshot.queued)
    assert {"invalid": 1, "delivery_failed": 100} == snapshot.dropped


def _served(handle: KafkaProducerHandle) -> KafkaProducerHandle:
    handle.serve(0.1, hurry=True)
    return handle


def test_events_wait_on_disk_for_their_topic(world: Away) -> None:
    """Brokers of a company make no topic by themselves: one line says which is missing, and when
    `usagepipe migrate` has made it all events are sent."""
    with world.recorder() as recorder, capture_logs() as logs:
        for number in range(100):
            recorder.record(event(number))
        eventually(lambda: UNKNOWN in reported(logs), SECONDS, "a line that names the cause")
        eventually(lambda: recorder.snapshot().spilled == 100, SECONDS, "all to be on disk")
        make_topics(world.kafka.bootstrap, world.topic, 1)
        left = recorder.flush(SECONDS)
        eventually(lambda: RECOVERED in reported(logs), SECONDS, "the log line of its end")
        snapshot = recorder.snapshot()

    assert (0, {}, 100) == (left, snapshot.dropped, snapshot.delivered)
    assert list(range(1, 101)) == once(world.numbers()[recorder.producer_id])
    assert [UNKNOWN, RECOVERED] == reported(logs)
