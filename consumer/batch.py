"""Cuts the records of one partition into batches: contiguous ranges of offsets.

A batch `[first, last]` begins where the batch before it ended, not at its first record: offsets
in between that hold no data (transaction markers) belong to it, so that ranges leave no gap. It
ends at a data record, so that seeing any offset >= `last` proves that the range was read whole.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from usagepipe.consumer.records import Record, Run, TopicPartition, size_of
from usagepipe.schemas.settings import Settings


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch closes: at so many rows, so many bytes, or so long after its first record."""

    rows: int
    size: int  # bytes
    seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
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
    records: tuple[Record, ...]
    size: int  # bytes of the values

    @property
    def end(self) -> int:
        """The offset after the batch: what is committed, and where the next one begins."""
        return self.last + 1

    def divide(self, suspect: int | None) -> list["Batch"]:
        """Ranges that make up this one, of at least one record each; it has two or more.

        Around the offset `suspect`, which is then alone, or in halves where it is None or unknown.
        """
        offsets = [record.offset for record in self.records]
        if suspect in offsets:
            middle = offsets.index(suspect)
            borders = sorted({0, middle, middle + 1, len(offsets)})
        else:
            borders = [0, len(offsets) // 2, len(offsets)]
        parts: list[Batch] = []
        first = self.first
        for start, end in pairwise(borders):
            records = self.records[start:end]
            last = self.last if end == len(offsets) else offsets[end - 1]
            parts.append(Batch(self.partition, first, last, records, size_of(records)))
            first = last + 1
        return parts


class Cutter:
    """Gathers runs of one partition and cuts them into batches. Holds no clock of its own."""

    def __init__(self, partition: TopicPartition, position: int, policy: BatchPolicy) -> None:
        self._partition = partition
        self._policy = policy
        self._position = position  # where the next batch begins
        self._runs: deque[tuple[Run, float]] = deque()  # with the time each came in
        self.rows = 0
        self.size = 0

    def add(self, run: Run, now: float) -> None:
        """Take a run that came in at `now` (seconds of a monotonic clock)."""
        self._runs.append((run, now))
        self.rows += len(run.records)
        self.size += run.size

    def seconds_to_close(self, now: float, linger: float = 0.0) -> float | None:
        """How long until a batch closes by itself: 0 is now, None is never (nothing is here).

        One that is not full closes by the policy's time, or `linger` seconds where that is more.
        """
        if not self._runs:
            return None
        if self.rows >= self._policy.rows or self.size >= self._policy.size:
            return 0.0
        arrived = self._runs[0][1]
        return max(0.0, arrived + max(self._policy.seconds, linger) - now)

    def has_seen(self, offset: int) -> bool:
        """Whether a record at or behind `offset` is here: the log up to it was read whole."""
        return bool(self._runs) and self._runs[-1][0].records[-1].offset >= offset

    def cut_to(self, last: int) -> Batch:
        """All that is here up to the offset `last`, whatever the policy's limits.

        There may be nothing: the log can have lost what it held.
        """
        records: list[Record] = []
        size = 0
        while self._runs and self._runs[0][0].records[0].offset <= last:
            taken = self._take(bisect_right(self._runs[0][0].records, last, key=_offset))
            records += taken.records
            size += taken.size
        return self._batch(records, size, last)

    def cut(self) -> Batch:
        """The next batch, of what is here: at least one record, at most the policy's limits.

        One record alone may be larger than the limit of bytes; it is a batch of its own.
        """
        records: list[Record] = []
        size = 0
        while self._runs and len(records) < self._policy.rows and size < self._policy.size:
            taken = self._take(self._policy.rows - len(records))
            records += taken.records
            size += taken.size
        return self._batch(records, size, records[-1].offset)

    def _take(self, most: int) -> Run:
        """The next run, or its first `most` records."""
        run, arrived = self._runs.popleft()
        if len(run.records) <= most:
            return run
        self._runs.appendleft((replace(run, records=run.records[most:]), arrived))
        return replace(run, records=run.records[:most])

    def _batch(self, records: list[Record], size: int, last: int) -> Batch:
        batch = Batch(self._partition, self._position, last, tuple(records), size)
        self._position = batch.end
        self.rows -= len(records)
        self.size -= size
        return batch


def _offset(record: Record) -> int:
    return record.offset
