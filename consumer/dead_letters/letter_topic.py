"""The topic of dead letters, from where it begins to where it ended when it was opened.

The end is fixed first: who puts records back may cause new letters while still reading old ones.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from typing import Final, Self

from usagepipe.consumer.dead_letters.letters import Letter, Seen, Selection, read_letter
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.kafka_settings import KafkaSettings


class LetterTopic:
    """The letters that stood in the topic when this was opened. May be read more than once."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Blocks. `topic` is the one of dead letters.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self.topic: Final = topic
        self.others = 0  # records that are no letter, met in the last reading
        self._reader = LogReader(kafka, topic)
        try:
            self._spans = {number: self._span(number) for number in self._reader.partitions}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()

    def _span(self, partition: int) -> tuple[int, int]:
        """The first offset, and the end behind the last record, whatever the broker says of it."""
        first, end = self._reader.span(partition)
        return first, self._reader.end_behind(partition, end) if end > first else end

    def letters(self, selection: Selection) -> Generator[Letter, None, None]:
        """The selected letters in their order, with every copy of each.

        Raises:
            ServerUnavailableError: the broker gave nothing for a while.
        """
        self.others = 0
        for partition, (first, end) in self._spans.items():
            for message in self._reader.read(
                partition, self._begin(partition, first, end, selection.start), end
            ):
                letter = read_letter(message)
                if letter is None:
                    self.others += 1
                elif selection.has(letter.envelope):
                    yield letter

    def distinct(self, selection: Selection, limit: int | None = None) -> Iterator[Letter]:
        """The selected letters, `limit` at most, each once: its first copy."""
        seen, left = Seen(), limit
        with closing(self.letters(selection)) as letters:
            while left != 0 and (letter := next(letters, None)):
                if seen.is_new(letter.envelope.coordinates):
                    yield letter
                    left = None if left is None else left - 1

    def _begin(self, partition: int, first: int, end: int, start: datetime | None) -> int:
        if start is None:
            return first
        since = self._reader.first_since(partition, start)
        return end if since is None else max(first, since)
