"""What an audit needs of the dead letters: which offsets they are of, which sequences, and what
producers told of their losses."""

import json
from collections.abc import Iterable
from typing import Self

from usagepipe.consumer.dead_letters.letter_topic import LetterTopic
from usagepipe.consumer.dead_letters.letters import Letter, Selection
from usagepipe.consumer.log.unread import UNREADABLE
from usagepipe.schemas.errors import MissingTopicError
from usagepipe.schemas.gap import UsageGap, decode_gap
from usagepipe.schemas.kafka_settings import KafkaSettings


class LetterFacts:
    """Offsets by partition and numbers by producer; of the letters only these are kept."""

    def __init__(self, letters: Iterable[Letter] = ()) -> None:
        # By partition and offset, what each letter has of the record; None: nothing, or no bytes
        # that another client may read.
        self._records: dict[int, dict[int, set[int | None]]] = {}
        self._sequences: dict[str, set[int]] = {}
        self._gaps: dict[str, dict[bytes, UsageGap]] = {}  # by producer and as it stands there
        for letter in letters:
            _, partition, offset = letter.envelope.coordinates
            envelope = letter.envelope
            unread = envelope.value_omitted or envelope.reason in UNREADABLE
            of_record = self._records.setdefault(partition, {}).setdefault(offset, set())
            of_record.add(None if unread else hash(letter.value or b""))
            value = letter.value or b""
            if (gap := decode_gap(value)) is None:
                self._note_sequence(value)
            else:  # it may have been sent twice: the same bytes are the same word
                self._gaps.setdefault(gap.producer_id, {})[value] = gap

    @classmethod
    def read(cls, kafka: KafkaSettings, topic: str, topic_id: str) -> Self:
        """Of all letters about records of the topic with that id. Blocks.

        Raises:
            ServerUnavailableError: no broker answered.
        """
        try:
            with LetterTopic(kafka, topic) as letters:
                return cls(letters.letters(Selection(topic_id=topic_id)))
        except MissingTopicError:
            return cls()

    def offsets(self, partition: int) -> list[int]:
        """In order."""
        return sorted(self._records.get(partition, ()))

    def is_about(self, partition: int, offset: int, value: bytes | None) -> bool:
        """Whether a letter is about the record with that value, as far as it tells.

        A log that lost its end has other records at the offsets of old letters.
        """
        known = self._records.get(partition, {}).get(offset, set())
        return None in known or hash(value or b"") in known

    def tells_value(self, partition: int, offset: int) -> bool:
        """Whether every letter about a record there has its value."""
        return None not in self._records.get(partition, {}).get(offset, {None})

    def sequences(self, producer: str) -> set[int]:
        return self._sequences.get(producer, set())

    @property
    def tellers(self) -> list[str]:
        """The producers that told of losses."""
        return list(self._gaps)

    def told(self, producer: str) -> list[UsageGap]:
        """What it told of its losses, each word once."""
        return list(self._gaps.get(producer, {}).values())

    def _note_sequence(self, value: bytes) -> None:
        try:
            fields = json.loads(value)
            producer, sequence = fields["producer_id"], fields["sequence"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return  # no event: it gave no number
        if isinstance(producer, str) and isinstance(sequence, int):
            self._sequences.setdefault(producer, set()).add(sequence)
