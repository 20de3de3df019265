"""Creates the topics, and reports how existing ones differ from the settings.

It never alters a topic: its owner may have reasons, and another clean-up policy loses events. Only
for commands: librdkafka's admin client once crashed its process after a broker was killed, so keep
it out of workers and web processes.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    ConfigResource,
    NewTopic,
    TopicMetadata,
)

from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.kafka_trouble import MANAGE, RIGHTS, Complaints, kafka_error
from usagepipe.schemas.logger import HarmlessLogger
from usagepipe.schemas.settings import MigrationSettings
from usagepipe.schemas.topics import TopicSpec, topic_specs

log = HarmlessLogger("usagepipe.schemas")

REQUEST_SECONDS = 15.0  # for a controller that is busy with an election
KNOWN_SECONDS = 15.0  # to wait until the broker reports a topic that was created
PAUSE_SECONDS = 0.05
LEAST_WAIT_SECONDS = 3.0  # the first connection takes a moment even to a running broker


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic's setting that differs from ours. `harmful`: it can lose events."""

    setting: str
    wanted: str
    found: str

    @property
    def harmful(self) -> bool:
        """Compaction removes records from a batch's range: a retry would be another batch."""
        return self.setting == "cleanup.policy"


@dataclass(frozen=True, slots=True)
class EnsuredTopic:
    """A topic that exists now. `created` is False if it existed before."""

    spec: TopicSpec
    created: bool
    differences: tuple[Difference, ...]


def ensure_topics(
    settings: MigrationSettings, *, wait_seconds: float = 0
) -> tuple[EnsuredTopic, ...]:
    """Create the missing topics. Blocks, up to `wait_seconds` for a starting broker.

    Raises:
        ServerUnavailableError: no broker answered.
        UsagePipeError: a broker refused, for instance the number of replicas.
    """
    complaints = Complaints()
    admin = AdminClient(librdkafka_config(settings) | {"log_level": 0, "error_cb": complaints})
    try:
        standing = _when_answered(admin, complaints, max(wait_seconds, LEAST_WAIT_SECONDS))
        ensured = tuple(
            _compare(admin, spec, len(standing[spec.name].partitions))
            if spec.name in standing
            else _create(admin, spec)
            for spec in topic_specs(settings)
        )
        _wait_until_known(admin, {topic.spec.name for topic in ensured} - standing.keys())
        return ensured
    except KafkaException as error:
        raise kafka_error(settings, error.args[0], complaints, MANAGE) from error


def _when_answered(
    admin: AdminClient, complaints: Complaints, seconds: float
) -> dict[str, TopicMetadata]:
    """The existing topics. Does not wait for a broker that refuses this client."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            # librdkafka retries the connection until the timeout.
            left = max(0.1, deadline - time.monotonic())
            return admin.list_topics(timeout=min(LEAST_WAIT_SECONDS, left)).topics
        except KafkaException:
            admin.poll(0)  # for its complaints
            if complaints.refusal is not None or time.monotonic() >= deadline:
                raise


def _create(admin: AdminClient, spec: TopicSpec) -> EnsuredTopic:
    topic = NewTopic(
        spec.name,
        num_partitions=spec.partitions,
        replication_factor=spec.replication,
        config=spec.config,
    )
    try:
        _only(admin.create_topics([topic], request_timeout=REQUEST_SECONDS))
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        check_right(admin, spec.name)
        return EnsuredTopic(spec, False, ())  # another run created it at this moment
    log.debug("topic_created", topic=spec.name, partitions=spec.partitions)
    return EnsuredTopic(spec, True, ())


def check_right(client: AdminClient | Consumer, topic: str) -> None:
    """Raise if the user may not see an existing topic: lists leave such topics out."""
    named = client.list_topics(topic, REQUEST_SECONDS).topics[topic]
    if named.error is not None and named.error.code() in RIGHTS:
        raise KafkaException(named.error)


def _wait_until_known(admin: AdminClient, created: Iterable[str]) -> None:
    """Wait until the broker reports the topics, so that the next program finds them.

    The controller answers when it has stored them; a busy broker learns of them later. A timeout is
    not an error: the topics exist.
    """
    deadline = time.monotonic() + KNOWN_SECONDS
    waiting = set(created)
    while waiting and (left := deadline - time.monotonic()) > 0:
        with suppress(KafkaException):  # asked again below, until the deadline
            known = admin.list_topics(timeout=left).topics  # naming a topic may create it
            waiting = {name for name in waiting if not _is_led(known.get(name))}
        time.sleep(PAUSE_SECONDS if waiting else 0)
    if waiting:
        log.warning("topics_not_known_yet", topics=sorted(waiting))


def _is_led(topic: TopicMetadata | None) -> bool:
    """Whether the topic exists and each of its partitions has a leader."""
    leaders = [partition.leader for partition in topic.partitions.values()] if topic else []
    return bool(leaders) and min(leaders) >= 0


def _compare(admin: AdminClient, spec: TopicSpec, partitions: int) -> EnsuredTopic:
    resource = ConfigResource(ConfigResource.Type.TOPIC, spec.name)
    live = _only(admin.describe_configs([resource], request_timeout=REQUEST_SECONDS))
    wanted = {"partitions": str(spec.partitions)} | spec.config
    found = {"partitions": str(partitions)} | {name: entry.value for name, entry in live.items()}
    differences = tuple(
        Difference(name, value, str(found[name]))
        for name, value in wanted.items()
        if name in found and found[name] != value  # a small broker does not name them all
    )
    return EnsuredTopic(spec, False, differences)


def _only(futures: Mapping[Any, "Future[Any]"]) -> Any:
    (future,) = futures.values()
    return future.result()
