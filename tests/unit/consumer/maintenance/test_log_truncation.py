"""Which records the search for truncations reads."""

from collections.abc import Iterator
from typing import Any, cast

from usagepipe.consumer.maintenance.log_truncation import TruncationFinder

DECIDED, END = 20, 30  # an open transaction begins at 20


class Topic:
    """A log with a leader epoch that begins at 10 and has only aborted records before 20."""

    def __init__(self) -> None:
        self.log = self
        self.read_to: list[int] = []

    def epoch_starts(self, partition: int, low: int, high: int) -> list[int]:
        return [10]

    def span(self, partition: int) -> tuple[int, int]:
        return 0, DECIDED

    def read(self, partition: int, first: int, end: int) -> Iterator[Any]:
        self.read_to.append(end)
        return iter(())


class NoRows:
    def offsets_from(self, partition: int, high: int) -> list[int]:
        return []


def test_an_open_transaction_does_not_stop_the_search() -> None:
    """Kafka sends no record after its begin: a reader would wait until it gives up."""
    topic = Topic()
    finder = TruncationFinder(cast(Any, topic), cast(Any, NoRows()), cast(Any, None))

    found = finder.find(0, 0, END)

    assert [DECIDED] == topic.read_to
    assert 10 == found.first_truncation
