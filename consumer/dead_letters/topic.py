"""Reads the dead-letter topic up to the end that it had when it was opened.

The end is fixed first, because a replay can cause new dead letters while it still reads old ones.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from typing import Final

from usagepipe.consumer.dead_letters.record import (
    DeadLetter,
    SeenCoordinates,
    Selection,
    read_dead_letter,
)
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.settings.base import TopicSettings


class DeadLetterTopic:
    """The dead letters that were in the topic when it was opened. Can be read more than once."""

    def __init__(self, settings: TopicSettings) -> None:
        """Blocks.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self.topic: Final = settings.dead_letter_topic
        self.other_records = 0  # records of the last reading that are not dead letters
        self._reader = LogReader(settings, self.topic)
        try:
            self._spans = {number: self._span(number) for number in self._reader.partitions}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._reader.close()

    def _span(self, partition: int) -> tuple[int, int]:
        """The first offset, and the offset after the last record."""
        first, end = self._reader.span(partition)
        return first, self._reader.end_after(partition, end) if end > first else end

    def read(self, selection: Selection) -> Generator[DeadLetter, None, None]:
        """The selected dead letters in offset order, copies included.

        Raises:
            ServerUnavailableError: the broker sent nothing for a while.
        """
        self.other_records = 0
        for partition, (first, end) in self._spans.items():
            start = self._start(partition, first, end, selection.start)
            for message in self._reader.read(partition, start, end):
                dead_letter = read_dead_letter(message)
                if dead_letter is None:
                    self.other_records += 1
                elif selection.has(dead_letter.envelope):
                    yield dead_letter

    def read_distinct(self, selection: Selection, limit: int | None = None) -> Iterator[DeadLetter]:
        """The first `limit` selected dead letters, of each its first copy."""
        seen, left = SeenCoordinates(), limit
        with closing(self.read(selection)) as dead_letters:
            while left != 0 and (dead_letter := next(dead_letters, None)):
                if seen.add(dead_letter.envelope.coordinates):
                    yield dead_letter
                    left = None if left is None else left - 1

    def _start(self, partition: int, first: int, end: int, since: datetime | None) -> int:
        if since is None:
            return first
        offset = self._reader.first_since(partition, since)
        return end if offset is None else max(first, offset)
