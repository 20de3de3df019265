"""Writes records to a topic, for commands: all replicas acknowledge each record, none is doubled.

It first checks that the topic exists: a write would create it if the broker allows that. Memory is
bounded: `put` waits while Kafka is slower than its caller.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.kafka_trouble import WRITE, Complaints, kafka_error
from usagepipe.schemas.settings.kafka import KafkaSettings

# The client retries for this long while Kafka is unreachable.
DELIVERY_SECONDS: Final = 30.0
QUEUE_KIBIBYTES: Final = 65_536
MAX_MESSAGE_BYTES: Final = 1_000_000_000  # the client's maximum; see `_producer`
POLL_SECONDS: Final = 0.2  # so that Ctrl-C works
# Errors of one record, not of all of them.
_REFUSED: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_RECORD,
}

# Called when the fate of a record is known: None and the record, or the reason of the refusal.
Settled = Callable[[str | None, Message | None], None]


class LogWriter:
    """Writes to one topic. Use it in one thread. Without `drain`, the last records may be lost."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Blocks.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        LogReader(kafka, topic).close()
        self._kafka = kafka
        self._topic = topic
        self._failure: KafkaError | None = None
        self._sent = self._settled = 0
        self._complaints = Complaints()
        self._producer = _producer(kafka, self._complaints)

    @property
    def unconfirmed(self) -> int:
        """How many records were sent and neither acknowledged nor refused: they may be stored."""
        return self._sent - self._settled

    def put(self, key: bytes | None, value: bytes | None, settled: Settled) -> None:
        """Send a record, and call `settled` when Kafka has taken or refused it.

        Raises:
            ServerUnavailableError: Kafka became unreachable, perhaps earlier; see `unconfirmed`.
            UsagePipeError: Kafka refused for a reason that holds for all records.
        """
        report = partial(self._report, settled)
        while True:
            self._raise_failure()
            try:
                self._producer.produce(self._topic, value, key, on_delivery=report)
            except BufferError:
                if not self._poll(POLL_SECONDS) and not len(self._producer):
                    settled(f"it is larger than {QUEUE_KIBIBYTES} KiB.", None)
                    return
            except KafkaException as error:
                if error.args[0].code() in _REFUSED:
                    settled(error.args[0].str(), None)
                    return
                self._failure = error.args[0]
            else:
                self._sent += 1
                self._poll(0)
                return

    def drain(self) -> None:
        """Wait until every record is settled, or Kafka is unreachable for too long.

        Raises:
            ServerUnavailableError: Kafka is unreachable; see `unconfirmed`.
            UsagePipeError: Kafka refused for a reason that holds for all records.
        """
        while len(self._producer):
            self._poll(POLL_SECONDS)
            if self._failure is not None and self._failure.fatal():
                break
        self._raise_failure()

    def _poll(self, seconds: float) -> int:
        """Handle delivery reports; their number."""
        try:
            return self._producer.poll(seconds)
        except KafkaException as error:  # a fatal one
            self._failure = self._failure or error.args[0]
            return 0

    def _report(self, settled: Settled, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() not in _REFUSED:
            self._failure = self._failure or error
            return
        self._settled += 1
        settled(None if error is None else error.str(), message)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise kafka_error(self._kafka, self._failure, self._complaints, WRITE)


def _producer(kafka: KafkaSettings, complaints: Complaints) -> Producer:
    return Producer(
        librdkafka_config(kafka)
        | {
            "client.id": "usagepipe",
            "error_cb": complaints,
            # Retries cause neither gaps nor duplicates.
            "enable.idempotence": True,
            "acks": "all",
            # As the recorder has it: a key's records go to the partition of its events.
            "partitioner": "murmur2_random",
            # The topic limits compressed bytes, the client limits uncompressed ones. Only the
            # broker shall decide.
            "compression.type": "zstd",
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.kbytes": QUEUE_KIBIBYTES,
            "delivery.timeout.ms": DELIVERY_SECONDS * 1000,
            "log_level": 0,  # the command's error reports a failure
        }
    )
