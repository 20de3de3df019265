"""How librdkafka is set up for events, and what its many reports come down to.

With Kafka away librdkafka reports every attempt of every connection. One line says that it is
away and one that it is back; in between the counters tell the story.
"""

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from usagepipe.producer.process.safe_log import log
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.kafka_trouble import WRITE, probe, refusal
from usagepipe.schemas.settings import ProducerSettings
from usagepipe.schemas.topics import MAX_RECORD_BYTES

# A batch may hold as much as one message, and the topic's bound counts the batch's frame too.
MESSAGE_MAX_BYTES = MAX_RECORD_BYTES - 4_096
REPORT_MILLISECONDS = 500
# Sent again, such a record would be refused again. Everything else that a client or a broker says
# is about the client, the topic or the cluster: it passes, and no event is lost for it.
OF_THE_RECORD = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
)


Report = dict[str, Any]  # librdkafka's statistics, which come each REPORT_MILLISECONDS


def producer_config(settings: ProducerSettings) -> dict[str, Any]:
    """librdkafka's properties for the events' producer."""
    return librdkafka_config(settings) | {
        "client.id": "usagepipe",
        # Retries make neither gaps nor doubles nor another order within a partition.
        "enable.idempotence": True,
        "acks": "all",
        # The Java client's: all clients put a key's events into the same partition, in order.
        "partitioner": "murmur2_random",
        "compression.type": settings.compression,
        "linger.ms": settings.linger_ms,
        "queue.buffering.max.messages": settings.queue_events,
        "queue.buffering.max.kbytes": settings.queue_kilobytes,
        "message.max.bytes": MESSAGE_MAX_BYTES,
        # No limit: memory is bounded by the queue, so a time limit would only lose events that
        # there is room for, and Kafka may be away for longer than any limit we could guess.
        "delivery.timeout.ms": 0,
        # A topic that `usagepipe migrate` has yet to make is no reason to lose events: the default
        # fails them after 30 s. The 3,600,000 that it claims to take overflow: 0 s in effect.
        "topic.metadata.propagation.max.ms": 2_100_000,
        "reconnect.backoff.max.ms": 2_000,  # the default of 10 s is felt when Kafka comes back
        # Python sees failures only: a call for each delivered event would cost more than produce().
        "delivery.report.only.error": True,
        "log_level": 2,  # syslog's "critical": the rest is each failed attempt, or comes as error
        "statistics.interval.ms": REPORT_MILLISECONDS,
    }


def is_of_the_record(error: KafkaError) -> bool:
    """Whether `error` is the fault of the one record that it was told of."""
    return error.code() in OF_THE_RECORD


class LibraryLog:
    """Stands where librdkafka wants a `logging.Logger`, for the little that it may say."""

    def log(self, level: int, text: str, *values: object) -> None:
        if values[:1] == ("FATAL",):  # raised by the next poll as well, and told by `Availability`
            return
        log.error("librdkafka_failed", text=text % values if values else text)


class Availability:
    """Says once that Kafka is in trouble, by kind of trouble, and once that it works again."""

    def __init__(self, kafka: ProducerSettings) -> None:
        self._kafka = kafka
        self._told: set[str] = set()
        self._delivered_then = 0

    @property
    def is_in_trouble(self) -> bool:
        """Something was logged, and no event delivered since."""
        return bool(self._told)

    def failed(self, error: KafkaError, delivered: int) -> None:
        name = str(error.name())
        # _TRANSPORT is one connection; without any other, _ALL_BROKERS_DOWN follows.
        if name != "_TRANSPORT":
            self._tell(name, delivered, lambda: {"text": error.str()} | self._cause(error))

    def refused(self, error: Exception, delivered: int) -> None:
        """Of an error of ours, whose text names the cause."""
        self._tell(type(error).__name__, delivered, lambda: {"cause": str(error)})

    def _tell(self, name: str, delivered: int, facts: Callable[[], dict[str, str]]) -> None:
        if name not in self._told:
            self._told.add(name)
            self._delivered_then = delivered
            log.warning("kafka_failed", error=name, **facts(), servers=self._kafka.kafka)

    def _cause(self, error: KafkaError) -> dict[str, str]:
        cause = refusal(self._kafka, error, WRITE)
        if error.code() == KafkaError._SSL:
            cause = probe(self._kafka)  # blocks for a moment: a broker that speaks TLS is there
        return {"cause": cause} if cause else {}

    def delivered(self, total: int) -> None:
        if self._told and total > self._delivered_then:
            self._told.clear()
            log.warning("kafka_recovered", servers=self._kafka.kafka)


def connection_steps(report: Report) -> int:
    """How far the first connection has come, by librdkafka's report: a broker and then a topic's
    leader has answered, the partitions are known, and the producer's identity is."""
    answered = [broker for broker in report.get("brokers", {}).values() if broker["rx"]]
    topics = report.get("topics", {}).values()
    is_found = any(topic["partitions"].keys() - {"-1"} for topic in topics)
    is_identified = bool(report.get("eos", {}).get("producer_id", -1) >= 0)
    return len(answered[:2]) + is_found + is_identified


def is_topic_unknown(report: Report) -> bool:
    """Whether Kafka has answered that there is no such topic. librdkafka waits for one without a
    word, with its events in a partition that is none."""
    topics = report.get("topics", {}).values()
    return any(topic["metadata_age"] and topic["partitions"].keys() == {"-1"} for topic in topics)


class PartitionWatch:
    """Notices a partition that acknowledges nothing while others do: its leader is gone, say."""

    def __init__(self, seconds: float) -> None:
        """Stuck is what holds events for `seconds` without any progress."""
        self._seconds = seconds
        self._stands: dict[tuple[str, str], tuple[int, float]] = {}  # the last acknowledged, since

    def is_stuck(self, report: Report, now: float) -> bool:
        """Look at librdkafka's report, at the moment `now`."""
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
    """Notices a broker that refuses the producer's identity for ever.

    A broker that has lost its memory (the laptop's, when it is started again) does not know the
    producer's id. librdkafka then raises its epoch and tries again, for ever and without a word:
    only its statistics show that epochs pass and nothing is delivered.
    """

    EPOCHS = 5  # between two looks; where an identity is accepted in the end, one is enough
    LOOK_SECONDS = 2.0

    def __init__(self) -> None:
        self._epoch = 0
        self._delivered = 0
        self._looked = 0.0

    def is_refused(self, report: Report, delivered: int, now: float) -> bool:
        """Look at librdkafka's report; `delivered` is the number of events so far."""
        if now - self._looked < self.LOOK_SECONDS:
            return False
        epoch = int(report.get("eos", {}).get("producer_epoch", 0))
        refused = delivered == self._delivered and epoch >= self._epoch + self.EPOCHS
        self._epoch, self._delivered, self._looked = epoch, delivered, now
        return refused
