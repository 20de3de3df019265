"""What comes out of the log: records, and runs of them as they were fetched.

A run is everything one fetch brought of one partition. Faust carries a run as one message, since
its cost is a message's (68 µs each), not a byte's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """A partition of a topic. Equal to Faust's and aiokafka's own, which are such tuples too."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(Protocol):
    """A record of the log, as aiokafka gives it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...  # milliseconds; the time of arrival (schemas/topics.py)
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True)
class Run:
    """Consecutive records of one partition, and the tenure they were fetched under.

    `stamp` is the number of the tenure that had sought the partition when the records were taken
    out of the fetcher: a run of an older tenure may lie before or after the current position, and
    is thrown away. `index` numbers the runs of a partition within a tenure: a number that is
    missing is a run that got lost inside the process, and is read again.
    """

    partition: TopicPartition
    records: Sequence[Record]
    stamp: int
    index: int

    @cached_property
    def size(self) -> int:
        """Bytes of values and keys: what the run costs in memory, less a small overhead."""
        return size_of(self.records)


def size_of(records: Sequence[Record]) -> int:
    """Bytes of their values and keys."""
    return sum([len(record.value or b"") + len(record.key or b"") for record in records])
