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

from confluent_kafka import Message

from usagepipe.consumer.dead_letters.letters import Envelope, Letter, Selection, moment
from usagepipe.consumer.log.unread import UNREADABLE
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.consumer.topics.log_writer import LogWriter
from usagepipe.schemas.errors import MissingTopicError
from usagepipe.schemas.gap import GAP
from usagepipe.schemas.kafka_settings import KafkaSettings

_GONE: Final = "the letter has no value, and the record is no longer kept."
_UNREAD: Final = "the letter has no value, and the record's batch cannot be unpacked."

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

    def __init__(self, kafka: KafkaSettings, topic: str, on_skip: Skipped) -> None:
        """Blocks.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self._log = LogWriter(kafka, topic)
        self.put_back: Counter[str] = Counter()
        self.skipped = 0
        self.since: datetime | None = None
        self._on_skip = on_skip
        self._originals = Originals(kafka)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._originals.close()

    @property
    def unconfirmed(self) -> int:
        """How many were sent and neither acknowledged nor refused: they may be there or not."""
        return self._log.unconfirmed

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
        self._log.drain()

    def _put(self, letter: Letter) -> None:
        key, value = letter.key, letter.value
        if letter.envelope.value_omitted:
            original = self._originals.record_of(letter.envelope)
            if original is None:
                self._skip(letter.envelope, why_missing(letter.envelope))
                return
            key, value = original
        self._log.put(key, value, partial(self._settled, letter.envelope))

    def _settled(self, envelope: Envelope, refusal: str | None, message: Message | None) -> None:
        if refusal is not None:
            self._skip(envelope, refusal)
        elif message is not None:
            # The broker's clock, as letters have it: one's own may be another.
            arrived = moment(message.timestamp()[1])
            self.since = min(filter(None, (self.since, arrived)), default=None)
            self.put_back[envelope.reason] += 1

    def _skip(self, envelope: Envelope, why: str) -> None:
        self.skipped += 1
        self._on_skip(envelope, why)


def why_missing(envelope: Envelope) -> str:
    """Why there is no value, neither in the letter nor where the record stood."""
    return _UNREAD if envelope.reason in UNREADABLE else _GONE


class Originals:
    """Reads records at their own coordinates, in whatever topic they stood."""

    def __init__(self, kafka: KafkaSettings) -> None:
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
        key, value = messages[0].key(), messages[0].value()
        if envelope.value_bytes not in (None, len(value or b"")):
            return None  # another record: the log lost its end since
        return key, value

    def _reader(self, topic: str) -> LogReader | None:
        if topic not in self._readers:
            try:
                self._readers[topic] = LogReader(self._kafka, topic)
            except MissingTopicError:
                return None
        return self._readers[topic]
