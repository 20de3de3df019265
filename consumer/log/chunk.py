"""A chunk: the records that one fetch returned of one partition."""

from collections.abc import Sequence
from dataclasses import dataclass

from usagepipe.consumer.log.record_batches import RecordBatch
from usagepipe.consumer.log.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Chunk:
    """Everything that one fetch returned of one partition.

    Faust carries a chunk as one message: a message of any size costs 68 µs.

    `assignment_id` is the assignment that had last sought the partition when the records were taken
    out of the fetcher. A chunk of an older one may lie before or after the current position: it is
    dropped. `index` counts the chunks of a partition within an assignment. A missing number means
    that a chunk was lost inside the process: the partition is read again.
    """

    partition: TopicPartition
    record_batches: Sequence[RecordBatch]  # at least one
    assignment_id: int
    index: int
    remaining: int = 0  # known offsets of the log after its last record

    @property
    def first(self) -> int:
        """The offset of its first record."""
        return self.record_batches[0].first
