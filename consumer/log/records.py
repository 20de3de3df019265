"""Records of the log and their partitions."""

from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """A partition of a topic. Equal to the tuples of the same content of Faust and aiokafka."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(Protocol):
    """A record of the log, as aiokafka returns it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...  # milliseconds; the time of arrival (schemas/topics.py)
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
