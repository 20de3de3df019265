"""What audit and replay need from the dead letters, kept in memory without the records' bytes.

Which offsets have a dead letter, which sequence numbers stand in them, and which losses producers
reported.
"""

import json
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from typing import Self

from usagepipe.consumer.dead_letters.record import DeadLetter, Selection
from usagepipe.consumer.dead_letters.topic import DeadLetterTopic
from usagepipe.consumer.log.unreadable import UNREADABLE
from usagepipe.schemas.errors import MissingTopicError
from usagepipe.schemas.gap import UsageGap, decode_gap
from usagepipe.schemas.settings.base import TopicSettings


class DeadLetterIndex:
    """Dead letters by partition and offset; sequence numbers and gap records by producer."""

    def __init__(self, dead_letters: Iterable[DeadLetter] = ()) -> None:
        # By partition and offset, a hash of the value in each dead letter; None: without value, or
        # a value that another client may unpack to other bytes.
        self._values: dict[int, dict[int, set[int | None]]] = {}
        self._sequences: dict[str, set[int]] = {}
        self._gaps: dict[str, dict[bytes, UsageGap]] = {}  # by producer and by encoded bytes
        for each in dead_letters:
            _, partition, offset = each.envelope.coordinates
            value = each.value or b""
            is_unread = each.envelope.value_omitted or each.envelope.reason in UNREADABLE
            values = self._values.setdefault(partition, {}).setdefault(offset, set())
            values.add(None if is_unread else hash(value))
            if (gap := decode_gap(value)) is None:
                self._add_sequence(value)
            else:  # equal bytes are the same report, sent twice
                self._gaps.setdefault(gap.producer_id, {})[value] = gap

    @classmethod
    def read(cls, settings: TopicSettings, topic_id: str) -> Self:
        """Index all dead letters of records from the topic with this id. Blocks.

        Raises:
            ServerUnavailableError: no broker answered.
        """
        try:
            with closing(DeadLetterTopic(settings)) as dead_letters:
                return cls(dead_letters.read(Selection(topic_id=topic_id)))
        except MissingTopicError:
            return cls()

    def offsets(self, partition: int) -> list[int]:
        """Offsets with a dead letter, in order."""
        return sorted(self._values.get(partition, ()))

    def matches(self, partition: int, offset: int, value: bytes | None) -> bool:
        """Whether a dead letter at this offset can be of a record with this value.

        A log that lost its end has new records at the offsets of old dead letters.
        """
        known = self._values.get(partition, {}).get(offset, set())
        return None in known or hash(value or b"") in known

    def has_value(self, partition: int, offset: int) -> bool:
        """Whether every dead letter at this offset holds the record's value."""
        return None not in self._values.get(partition, {}).get(offset, {None})

    def sequences(self, producer: str) -> set[int]:
        """The sequence numbers of this producer's events among the dead letters."""
        return self._sequences.get(producer, set())

    @property
    def reporting_producers(self) -> list[str]:
        """Producers that sent gap records."""
        return list(self._gaps)

    def gap_records(self, producer: str) -> list[UsageGap]:
        """The losses that a producer reported, each report once."""
        return list(self._gaps.get(producer, {}).values())

    def _add_sequence(self, value: bytes) -> None:
        try:
            fields = json.loads(value)
            producer, sequence = fields["producer_id"], fields["sequence"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return  # not an event, so without a sequence number
        if isinstance(producer, str) and isinstance(sequence, int):
            self._sequences.setdefault(producer, set()).add(sequence)


class LazyDeadLetterIndex:
    """An index of the dead letters of one topic, read at its first use."""

    def __init__(self, settings: TopicSettings, topic_id: str) -> None:
        self._read = partial(DeadLetterIndex.read, settings, topic_id)
        self._index: DeadLetterIndex | None = None

    @property
    def is_read(self) -> bool:
        return self._index is not None

    def get(self) -> DeadLetterIndex:
        """Blocks at the first call.

        Raises:
            ServerUnavailableError: no broker answered.
        """
        if self._index is None:
            self._index = self._read()
        return self._index
