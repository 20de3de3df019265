"""The configuration of librdkafka for events, and a short summary of its many reports.

While Kafka is unreachable, librdkafka reports every attempt of every connection. We log one line
when the trouble begins and one when it ends; the counters show what happens in between.
"""

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from usagepipe.producer.process.safe_log import log
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.kafka_trouble import WRITE, probe, refusal
from usagepipe.schemas.settings import ProducerSettings
from usagepipe.schemas.topics import MAX_RECORD_BYTES

# A record batch may hold one message of this size. The topic's limit includes the batch's frame.
MESSAGE_MAX_BYTES = MAX_RECORD_BYTES - 4_096
REPORT_MILLISECONDS = 500

Report = dict[str, Any]  # librdkafka's statistics, every REPORT_MILLISECONDS


def producer_config(settings: ProducerSettings) -> dict[str, Any]:
    """librdkafka's properties for the producer of events."""
    return librdkafka_config(settings) | {
        "client.id": "usagepipe",
        # Retries cause no gaps, no duplicates and no other order within a partition.
        "enable.idempotence": True,
        "acks": "all",
        # The Java client's partitioner: all clients put a key's events into the same partition.
        "partitioner": "murmur2_random",
        "compression.type": settings.compression,
        "linger.ms": settings.linger_ms,
        "queue.buffering.max.messages": settings.queue_events,
        "queue.buffering.max.kbytes": settings.queue_kilobytes,
        "message.max.bytes": MESSAGE_MAX_BYTES,
        # No limit. The queue bounds the memory, so a time limit would only drop events that there
        # is room for; and an outage may last longer than any limit we could guess.
        "delivery.timeout.ms": 0,
        # Keep events while `usagepipe migrate` has not created the topic yet: the default fails
        # them after 30 s. The documented maximum of 3,600,000 overflows: 0 s in effect.
        "topic.metadata.propagation.max.ms": 2_100_000,
        "reconnect.backoff.max.ms": 2_000,  # the default of 10 s delays the recovery
        # Report failures only: a call per delivered event would cost more than produce() does.
        "delivery.report.only.error": True,
        "log_level": 2,  # syslog's "critical": the rest is reported as errors anyway
        "statistics.interval.ms": REPORT_MILLISECONDS,
    }


class LibraryLog:
    """What librdkafka uses as its `logging.Logger`."""

    def log(self, level: int, text: str, *values: object) -> None:
        if values[:1] == ("FATAL",):  # the next poll raises it as well, and `Availability` logs it
            return
        log.error("librdkafka_failed", text=text % values if values else text)


class Availability:
    """Logs each kind of Kafka trouble once, and the recovery once."""

    def __init__(self, kafka: ProducerSettings) -> None:
        self._kafka = kafka
        self._logged: set[str] = set()
        self._delivered_then = 0

    @property
    def is_in_trouble(self) -> bool:
        """Whether trouble was logged and no event was delivered since."""
        return bool(self._logged)

    def failed(self, error: KafkaError, delivered: int) -> None:
        name = str(error.name())
        # _TRANSPORT concerns one connection. If no other works, _ALL_BROKERS_DOWN follows.
        if name != "_TRANSPORT":
            self._warn_once(name, delivered, lambda: {"text": error.str()} | self._cause(error))

    def refused(self, error: Exception, delivered: int) -> None:
        """Note one of our own errors, whose message names the cause."""
        self._warn_once(type(error).__name__, delivered, lambda: {"cause": str(error)})

    def _warn_once(self, name: str, delivered: int, facts: Callable[[], dict[str, str]]) -> None:
        if name not in self._logged:
            self._logged.add(name)
            self._delivered_then = delivered
            log.warning("kafka_failed", error=name, **facts(), servers=self._kafka.kafka)

    def _cause(self, error: KafkaError) -> dict[str, str]:
        cause = refusal(self._kafka, error, WRITE)
        if error.code() == KafkaError._SSL:
            cause = probe(self._kafka)  # blocks for a moment: the broker speaks TLS, so it is there
        return {"cause": cause} if cause else {}

    def delivered(self, total: int) -> None:
        if self._logged and total > self._delivered_then:
            self._logged.clear()
            log.warning("kafka_recovered", servers=self._kafka.kafka)


def connection_steps(report: Report) -> int:
    """How many steps of the first connection are done, by librdkafka's report: a broker answered, a
    partition's leader answered, the partitions are known, the producer's id is known."""
    answered = [broker for broker in report.get("brokers", {}).values() if broker["rx"]]
    topics = report.get("topics", {}).values()
    is_found = any(topic["partitions"].keys() - {"-1"} for topic in topics)
    is_identified = bool(report.get("eos", {}).get("producer_id", -1) >= 0)
    return len(answered[:2]) + is_found + is_identified


def is_topic_unknown(report: Report) -> bool:
    """Whether Kafka has answered that the topic does not exist. librdkafka then waits silently,
    with its events in a pseudo-partition."""
    topics = report.get("topics", {}).values()
    return any(topic["metadata_age"] and topic["partitions"].keys() == {"-1"} for topic in topics)


class PartitionWatch:
    """Detects a partition that acknowledges nothing while others do: its leader is gone, say."""

    def __init__(self, seconds: float) -> None:
        """A partition is stuck if it holds events for `seconds` without progress."""
        self._seconds = seconds
        self._stands: dict[tuple[str, str], tuple[int, float]] = {}  # last id, since

    def is_stuck(self, report: Report, now: float) -> bool:
        """Whether a partition is stuck, by the report that librdkafka made at `now`."""
        stuck = False
        for name, topic in report.get("topics", {}).items():
            for number, partition in topic["partitions"].items():
                place, acknowledged = (name, number), partition["acked_msgid"]
                held = sum(partition[n] for n in ("msgq_cnt", "xmit_msgq_cnt", "msgs_inflight"))
                known, since = self._stands.get(place, (-1, now))
                if not held or known != acknowledged:
                    since = now
                self._stands[place] = (acknowledged if held else -1, since)
                stuck |= now - since >= self._seconds
        return stuck


class IdentityWatch:
    """Detects that Kafka refuses the producer's id again and again.

    librdkafka then raises its epoch and retries, silently and forever. Only its statistics show it:
    the epoch rises and nothing is delivered. It happens with a broker that has lost its state (one
    in memory, after a restart), with Redpanda before 24.2, and with Apache Kafka when the first of
    several requests in flight keeps failing.
    """

    EPOCHS = 5  # between two looks; an id that is accepted in the end needs one
    LOOK_SECONDS = 2.0

    def __init__(self) -> None:
        self._epoch = 0
        self._delivered = 0
        self._looked = 0.0

    def is_refused(self, report: Report, delivered: int, now: float) -> bool:
        """Whether the id is refused, by the report made at `now`. `delivered` is a sum so far."""
        if now - self._looked < self.LOOK_SECONDS:
            return False
        epoch = int(report.get("eos", {}).get("producer_epoch", 0))
        refused = delivered == self._delivered and epoch >= self._epoch + self.EPOCHS
        self._epoch, self._delivered, self._looked = epoch, delivered, now
        return refused
