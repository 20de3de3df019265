"""Puts the records of dead letters back on the topic of events, as they came.

Gap records are left where they are: there is no event in them to put back. `replayable` leaves
them out where letters are chosen, so that they are neither counted nor part of a limit.

A record put back is a new record with an offset of its own: if it is an event it is stored, once,
however often it is put back, as its `event_id` tells; if it is still none it comes back as a
letter with new coordinates.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from usagepipe.consumer.letters import Envelope, Letter, Selection, moment
from usagepipe.consumer.log_reader import LogReader, kafka_error
from usagepipe.consumer.unread import UNREADABLE
from usagepipe.schemas.errors import MissingTopicError
from usagepipe.schemas.gap import GAP

DELIVERY_SECONDS: Final = 30.0
QUEUE_KIBIBYTES: Final = 65_536
MAX_MESSAGE_BYTES: Final = 1_000_000_000  # the client's most; see `_producer`
POLL_SECONDS: Final = 0.2
_GONE: Final = "the letter has no value, and the record is no longer kept."
_UNREAD: Final = "the letter has no value, and the record's batch cannot be unpacked."
# What a broker says of one record, and not of all of them.
_REFUSED: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_RECORD,
}

Content = tuple[bytes | None, bytes | None]  # key and value
Skipped = Callable[[Envelope, str], None]


def replayable(selection: Selection) -> Selection:
    """The selected letters that can be put back: all but gap records."""
    return replace(selection, left_out=selection.left_out | {GAP})


class Replay:
    """Puts letters back on one topic.

    `put_back` counts what the brokers have acknowledged, by reason; `skipped` what was told to
    `on_skip`, with a sentence why. `since` is when the first one arrived: whatever comes of
    them came later.
    """

    def __init__(self, kafka: str, topic: str, on_skip: Skipped) -> None:
        """Blocks.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        LogReader(kafka, topic).close()  # a producer could make a topic that is not there
        self.put_back: Counter[str] = Counter()
        self.skipped = 0
        self.since: datetime | None = None
        self._kafka = kafka
        self._topic = topic
        self._on_skip = on_skip
        self._failure: KafkaError | None = None
        self._sent = self._refused = 0
        self._originals = Originals(kafka)
        self._producer = _producer(kafka)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._originals.close()

    @property
    def unconfirmed(self) -> int:
        """How many were sent and neither acknowledged nor refused: they may be there or not."""
        return self._sent - self._refused - self.put_back.total()

    def run(self, letters: Iterable[Letter], stopped: Callable[[], bool]) -> None:
        """Put `letters` back until all are or `stopped()`; those begun are finished either way.

        Raises:
            ServerUnavailableError: Kafka went away; see `unconfirmed`.
            UsagePipeError: Kafka refused for a reason that holds for all of them.
        """
        for letter in letters:
            if stopped():
                break
            self._put(letter)
        while len(self._producer):
            self._producer.poll(POLL_SECONDS)
        self._raise_failure()

    def _put(self, letter: Letter) -> None:
        key, value = letter.key, letter.value
        if letter.envelope.value_omitted:
            original = self._originals.record_of(letter.envelope)
            if original is None:
                self._skip(letter.envelope, why_missing(letter.envelope))
                return
            key, value = original
        self._produce(letter.envelope, key, value)

    def _produce(self, envelope: Envelope, key: bytes | None, value: bytes | None) -> None:
        delivered = partial(self._delivered, envelope)
        while True:
            self._raise_failure()
            try:
                self._producer.produce(self._topic, value, key, on_delivery=delivered)
            except BufferError:
                if not self._producer.poll(POLL_SECONDS) and not len(self._producer):
                    self._skip(envelope, f"it is larger than {QUEUE_KIBIBYTES} KiB.")
                    return
            except KafkaException as error:
                self._skip(envelope, error.args[0].str())
                return
            else:
                self._sent += 1
                self._producer.poll(0)
                return

    def _delivered(self, envelope: Envelope, error: KafkaError | None, message: Message) -> None:
        if error is None:
            # The broker's clock, as letters have it: one's own may be another.
            arrived = moment(message.timestamp()[1])
            self.since = min(filter(None, (self.since, arrived)), default=None)
            self.put_back[envelope.reason] += 1
        elif error.code() in _REFUSED:
            self._refused += 1
            self._skip(envelope, error.str())
        else:
            self._failure = self._failure or error

    def _skip(self, envelope: Envelope, why: str) -> None:
        self.skipped += 1
        self._on_skip(envelope, why)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise kafka_error(self._kafka, self._failure)


def why_missing(envelope: Envelope) -> str:
    """Why there is no value, neither in the letter nor where the record stood."""
    return _UNREAD if envelope.reason in UNREADABLE else _GONE


class Originals:
    """Reads records at their own coordinates, in whatever topic they stood."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._readers: dict[str, LogReader] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def record_of(self, envelope: Envelope) -> Content | None:
        """The key and value of the record that a letter is about; None: see `why_missing`.

        Raises:
            ServerUnavailableError: Kafka went away.
        """
        if envelope.reason in UNREADABLE:
            return None  # the client would unpack its batch, whatever its size
        topic_id, partition, offset = envelope.coordinates
        reader = self._reader(envelope.topic)
        if reader is None or partition not in reader.partitions:
            return None
        first, end = reader.span(partition)
        if not first <= offset < end:
            return None
        messages = list(reader.read(partition, offset, offset + 1))
        # Asked afterwards: ids never come back, so the topic was this one all the time.
        if not messages or reader.topic_id() != topic_id:
            return None
        return messages[0].key(), messages[0].value()

    def _reader(self, topic: str) -> LogReader | None:
        if topic not in self._readers:
            try:
                self._readers[topic] = LogReader(self._kafka, topic)
            except MissingTopicError:
                return None
        return self._readers[topic]


def _producer(kafka: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": kafka,
            "client.id": "usagepipe",
            # Retries make neither gaps nor doubles.
            "enable.idempotence": True,
            "acks": "all",
            # As the recorder has it: a key's records go into the partition of its events.
            "partitioner": "murmur2_random",
            # The record came compressed and the topic's limit is one of compressed bytes, while
            # the client's own is not: the broker alone is to judge.
            "compression.type": "zstd",
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.kbytes": QUEUE_KIBIBYTES,
            "delivery.timeout.ms": DELIVERY_SECONDS * 1000,
            "log_level": 0,  # a failure is told once, as this command's error
        }
    )
