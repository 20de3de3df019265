"""Replays dead letters: sends their records to the topic of events again, byte for byte.

A replayed record gets a new offset. A valid event is stored once, however often it is replayed,
because the worker recognizes its `event_id`. A record that still cannot be stored becomes a new
dead letter with new coordinates. Gap records hold no event: `replayable` excludes them, so they
are not counted and no part of a limit.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from confluent_kafka import Message

from usagepipe.consumer.dead_letters.record import DeadLetter, Envelope, Selection, moment
from usagepipe.consumer.log.unreadable import UNREADABLE
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.consumer.topics.log_writer import LogWriter
from usagepipe.schemas.errors import MissingTopicError
from usagepipe.schemas.gap import GAP
from usagepipe.schemas.settings.kafka import KafkaSettings

_GONE: Final = "the dead letter has no value, and the record is no longer kept."
_UNREADABLE: Final = "the dead letter has no value, and the record's batch cannot be unpacked."

Content = tuple[bytes | None, bytes | None]  # key and value
OnSkip = Callable[[Envelope, str], None]


def replayable(selection: Selection) -> Selection:
    """The selection without gap records."""
    return replace(selection, excluded=selection.excluded | {GAP})


class DeadLetterReplay:
    """Replays dead letters to one topic.

    `replayed` counts records that the brokers acknowledged, by reason. `skipped` counts those that
    were passed to `on_skip` with a sentence that says why. `since` is the arrival of the first
    replayed record: new dead letters that the replay causes arrive later.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, on_skip: OnSkip) -> None:
        """Blocks.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self._log = LogWriter(kafka, topic)
        self.replayed: Counter[str] = Counter()
        self.skipped = 0
        self.since: datetime | None = None
        self._on_skip = on_skip
        self._original_records = OriginalRecords(kafka)

    def close(self) -> None:
        self._original_records.close()

    @property
    def unconfirmed(self) -> int:
        """Records that were sent and neither acknowledged nor refused: they may have arrived."""
        return self._log.unconfirmed

    def run(self, dead_letters: Iterable[DeadLetter], stopped: Callable[[], bool]) -> None:
        """Replay `dead_letters` until the end or until `stopped()`; waits for what was sent.

        Raises:
            ServerUnavailableError: Kafka became unreachable; see `unconfirmed`.
            UsagePipeError: Kafka refused for a reason that applies to all records.
        """
        for each in dead_letters:
            if stopped():
                break
            self._send(each)
        self._log.drain()

    def _send(self, dead_letter: DeadLetter) -> None:
        envelope = dead_letter.envelope
        key, value = dead_letter.key, dead_letter.value
        if envelope.value_omitted:
            original = self._original_records.read(envelope)
            if original is None:
                self._skip(envelope, why_missing(envelope))
                return
            key, value = original
        self._log.put(key, value, partial(self._on_delivery, envelope))

    def _on_delivery(
        self, envelope: Envelope, refusal: str | None, message: Message | None
    ) -> None:
        if refusal is not None:
            self._skip(envelope, refusal)
        elif message is not None:
            # By the broker's clock, as for dead letters: this machine's clock may differ.
            arrived = moment(message.timestamp()[1])
            self.since = min(filter(None, (self.since, arrived)), default=None)
            self.replayed[envelope.reason] += 1

    def _skip(self, envelope: Envelope, why: str) -> None:
        self.skipped += 1
        self._on_skip(envelope, why)


def why_missing(envelope: Envelope) -> str:
    """A sentence: why the record's value is neither in the dead letter nor in its own topic."""
    return _UNREADABLE if envelope.reason in UNREADABLE else _GONE


class OriginalRecords:
    """Reads records at their own coordinates, in any topic."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._readers: dict[str, LogReader] = {}

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def read(self, envelope: Envelope) -> Content | None:
        """The key and value of a dead letter's record; None if gone (see `why_missing`).

        Raises:
            ServerUnavailableError: Kafka became unreachable.
        """
        if envelope.reason in UNREADABLE:
            return None  # the client would unpack the whole batch, of any size
        topic_id, partition, offset = envelope.coordinates
        reader = self._reader(envelope.topic)
        if reader is None or partition not in reader.partitions:
            return None
        first, end = reader.span(partition)
        if not first <= offset < end:
            return None
        messages = list(reader.read(partition, offset, offset + 1))
        # The id is checked after the read. Ids are never used again, so the read was from this
        # topic.
        if not messages or reader.topic_id() != topic_id:
            return None
        key, value = messages[0].key(), messages[0].value()
        if envelope.value_bytes not in (None, len(value or b"")):
            return None  # another record: the log has lost its end since
        return key, value

    def _reader(self, topic: str) -> LogReader | None:
        if topic not in self._readers:
            try:
                self._readers[topic] = LogReader(self._kafka, topic)
            except MissingTopicError:
                return None
        return self._readers[topic]
