"""Values that Kafka's side and the worker's side exchange: positions, memberships, offsets."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH, EpochEnd
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.topic_id import TopicIdentity


class Position(NamedTuple):
    """What is committed for a partition: everything before `offset` is stored."""

    offset: int
    metadata: str = ""


class Membership(NamedTuple):
    """Who this worker is to the group's coordinator. Every rebalance changes it."""

    generation: int
    member_id: str


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """The committed position of a partition, and what its log holds: `start` … `end` - 1.

    `epoch_end` is where the log ends the committed leader epoch; None: not asked, or no answer.
    """

    committed: Position | None
    start: int
    end: int
    epoch_end: EpochEnd | None = None


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a partition worker begins: the committed offset, and the range that is pending there.

    Chunks with a smaller `index` were fetched before the seek to this offset.
    """

    offset: int
    topic: TopicIdentity
    pending: Announcement | None = None
    leader_epoch: int = UNKNOWN_EPOCH  # of the record before the offset
    index: int = 0


class Flow(Protocol):
    """Stops and resumes the fetching of a partition: back-pressure."""

    def on_buffer_full(self, tp: Any, /) -> None: ...
    def on_buffer_drop(self, tp: Any, /) -> None: ...


class FencedError(Exception):
    """The group has a new generation: another worker may own the partitions now."""
