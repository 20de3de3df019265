"""Records and runs as tests write them."""

from dataclasses import dataclass

from usagepipe.consumer.packs import Loose, Run
from usagepipe.consumer.records import TopicPartition

PARTITION = TopicPartition("usage.events.v1", 3)


@dataclass(frozen=True)
class FakeRecord:
    """What a test needs of a record of the log."""

    offset: int
    value: bytes | None = b"{}"
    key: bytes | None = b"key"
    timestamp: int = 1_700_000_000_123


def run_of(*offsets: int, stamp: int = 1, index: int = 0, size: int = 2, behind: int = 0) -> Run:
    """A run of records at `offsets`, each of `size` bytes."""
    records = [FakeRecord(n, b"x" * size) for n in offsets]
    return Run(PARTITION, [Loose.of(records)], stamp, index, behind)
