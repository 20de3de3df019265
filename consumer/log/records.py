"""What comes out of the log, and where it stands there."""

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
