"""A batch: a contiguous range of offsets of one partition, stored with one insert.

A batch `[first, last]` begins where the batch before it ended, not at its first record: offsets
without data (transaction markers) belong to it, so that ranges leave no gap. It ends at a data
record, so that a record at `last` or later proves that the range was read completely.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Self

from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH
from usagepipe.consumer.log.record_batches import DecodedBatch, RecordBatch
from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.schemas.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch closes: its maximum rows and bytes, and the time after its first record."""

    rows: int
    unpacked_bytes: int
    seconds: float

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        return cls(
            settings.batch_rows,
            settings.batch_megabytes << 20,
            settings.batch_seconds,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of the offsets `first` … `last` of one partition; one insert."""

    partition: TopicPartition
    first: int
    last: int
    record_batches: tuple[RecordBatch, ...]
    count: int  # of records
    unpacked_bytes: int
    epoch_before: int = UNKNOWN_EPOCH  # the leader epoch of the record before it

    @classmethod
    def of(
        cls,
        partition: TopicPartition,
        first: int,
        last: int,
        record_batches: tuple[RecordBatch, ...],
        epoch_before: int = UNKNOWN_EPOCH,
    ) -> Self:
        """The batch of all records of `record_batches`."""
        count = sum([each.count for each in record_batches])
        unpacked = sum([each.unpacked_bytes for each in record_batches])
        return cls(partition, first, last, record_batches, count, unpacked, epoch_before)

    def records(self) -> Iterator[Record]:
        """Its records. They are unpacked as they are taken, and never all in memory at once."""
        return chain.from_iterable(each.records() for each in self.record_batches)

    @property
    def leader_epoch(self) -> int:
        """The leader epoch of its last record, or of a later one of the batch it was cut from."""
        return self.record_batches[-1].leader_epoch if self.record_batches else UNKNOWN_EPOCH

    def __str__(self) -> str:
        return f"{self.partition}@{self.first}-{self.last}"

    @property
    def end(self) -> int:
        """The offset after the batch: what is committed, and where the next batch begins."""
        return self.last + 1

    def divide(self, suspect: int | None) -> list["Batch"]:
        """Its range in parts of at least one record each. It has two records or more.

        The record at the offset `suspect` is a part of its own; without it there are two halves.
        """
        records = list(self.records())
        offsets = [record.offset for record in records]
        if suspect in offsets:
            middle = offsets.index(suspect)
            borders = sorted({0, middle, middle + 1, len(offsets)})
        else:
            borders = [0, len(offsets) // 2, len(offsets)]
        parts: list[Batch] = []
        first, before, epoch = self.first, self.epoch_before, self.leader_epoch
        for start, end in pairwise(borders):
            last = self.last if end == len(offsets) else offsets[end - 1]
            decoded = (DecodedBatch.of(records[start:end], epoch),)
            parts.append(Batch.of(self.partition, first, last, decoded, before))
            first, before = last + 1, epoch
        return parts
