"""Cuts the records of one partition into batches: contiguous ranges of offsets.

A batch `[first, last]` begins where the batch before it ended, not at its first record: offsets
in between that hold no data (transaction markers) belong to it, so that ranges leave no gap. It
ends at a data record, so that seeing any offset >= `last` proves that the range was read whole.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Self

from usagepipe.consumer.log.packs import Loose, Pack, Run, split, split_behind
from usagepipe.consumer.log.records import Record, TopicPartition
from usagepipe.consumer.topics.leader_epochs import UNKNOWN
from usagepipe.schemas.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch closes: at so many rows, so many bytes, or so long after its first record."""

    rows: int
    size: int  # bytes
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
    packs: tuple[Pack, ...]
    count: int  # of records
    size: int  # bytes, when they are unpacked
    epoch_before: int = UNKNOWN  # the leader epoch of the record before it

    @classmethod
    def of(
        cls,
        partition: TopicPartition,
        first: int,
        last: int,
        packs: tuple[Pack, ...],
        epoch_before: int = UNKNOWN,
    ) -> Self:
        """The batch of all records of `packs`."""
        count, size = sum([pack.count for pack in packs]), sum([pack.size for pack in packs])
        return cls(partition, first, last, packs, count, size, epoch_before)

    def records(self) -> Iterator[Record]:
        """Its records, unpacked as they are taken: they are never all there at once."""
        return chain.from_iterable(pack.records() for pack in self.packs)

    @property
    def leader_epoch(self) -> int:
        """Of its last record, or of a later one of the batch that it was cut from."""
        return self.packs[-1].leader_epoch if self.packs else UNKNOWN

    def __str__(self) -> str:
        return f"{self.partition}@{self.first}-{self.last}"

    @property
    def end(self) -> int:
        """The offset after the batch: what is committed, and where the next one begins."""
        return self.last + 1

    def divide(self, suspect: int | None) -> list["Batch"]:
        """Ranges that make up this one, of at least one record each; it has two or more.

        Around the offset `suspect`, which is then alone, or in halves where it is None or unknown.
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
            packs = (Loose.of(records[start:end], epoch),)
            parts.append(Batch.of(self.partition, first, last, packs, before))
            first, before = last + 1, epoch
        return parts


class Cutter:
    """Gathers runs of one partition and cuts them into batches. Holds no clock of its own."""

    def __init__(
        self,
        partition: TopicPartition,
        position: int,
        policy: BatchPolicy,
        leader_epoch: int = UNKNOWN,
    ) -> None:
        self._partition = partition
        self._policy = policy
        self._position = position  # where the next batch begins
        self._leader_epoch = leader_epoch  # of the record before it
        self._packs: deque[tuple[Pack, float]] = deque()  # with the time each came in
        self.rows = 0
        self.size = 0  # bytes when unpacked
        self.weight = 0  # bytes as they are

    def add(self, run: Run, now: float) -> None:
        """Take a run that came in at `now` (seconds of a monotonic clock)."""
        for pack in run.packs:
            self._packs.append((pack, now))
            self.rows += pack.count
            self.size += pack.size
            self.weight += pack.weight

    def seconds_to_close(self, now: float, linger: float = 0.0) -> float | None:
        """How long until a batch closes by itself: 0 is now, None is never (nothing is here).

        One that is not full closes by the policy's time, or `linger` seconds where that is more.
        """
        if not self._packs:
            return None
        if self.rows >= self._policy.rows or self.size >= self._policy.size:
            return 0.0
        arrived = self._packs[0][1]
        return max(0.0, arrived + max(self._policy.seconds, linger) - now)

    @property
    def oldest(self) -> int | None:
        """When the first record that waits here arrived in the log, in milliseconds."""
        return self._packs[0][0].times.first if self._packs else None

    def has_seen(self, offset: int) -> bool:
        """Whether a record at or behind `offset` is here: the log up to it was read whole."""
        return bool(self._packs) and self._packs[-1][0].last >= offset

    def cut_to(self, last: int) -> Batch:
        """All that is here up to the offset `last`, whatever the policy's limits.

        There may be nothing: the log can have lost what it held.
        """
        packs: list[Pack] = []
        while self._packs and self._packs[0][0].first <= last:
            pack, arrived = self._packs.popleft()
            if pack.last > last:
                pack = self._put_back(pack, *split_behind(pack, last), arrived)
            packs.append(pack)
        return self._batch(packs, last)

    def cut(self) -> Batch:
        """The next batch, of what is here: at least one record, at most the policy's rows.

        The pack that reaches the limit of bytes is the last.
        """
        packs: list[Pack] = []
        rows = size = 0
        while self._packs and rows < self._policy.rows and size < self._policy.size:
            pack = self._take(self._policy.rows - rows)
            packs.append(pack)
            rows += pack.count
            size += pack.size
        return self._batch(packs, packs[-1].last)

    def _take(self, most: int) -> Pack:
        """The next pack, or its first `most` records."""
        pack, arrived = self._packs.popleft()
        if pack.count <= most:
            return pack
        return self._put_back(pack, *split(pack, most), arrived)

    def _put_back(self, pack: Pack, head: Pack, rest: Pack, arrived: float) -> Pack:
        """Keep the `rest` of `pack`, of which `head` is taken."""
        self._packs.appendleft((rest, arrived))
        self.weight += head.weight + rest.weight - pack.weight
        return head

    def _batch(self, packs: list[Pack], last: int) -> Batch:
        batch = Batch.of(self._partition, self._position, last, tuple(packs), self._leader_epoch)
        self._position, self._leader_epoch = batch.end, batch.leader_epoch
        self.rows -= batch.count
        self.size -= batch.size
        self.weight -= sum([pack.weight for pack in packs])
        return batch
