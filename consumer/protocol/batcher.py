"""Cuts the chunks of one partition into batches, by rows, bytes and time."""

from collections import deque

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.lineage import UNKNOWN_EPOCH
from usagepipe.consumer.log.record_batches import RecordBatch, split, split_after
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.batch import Batch, BatchPolicy


class Batcher:
    """Collects chunks of one partition and cuts them into batches. It has no clock of its own."""

    def __init__(
        self,
        partition: TopicPartition,
        position: int,
        policy: BatchPolicy,
        leader_epoch: int = UNKNOWN_EPOCH,
    ) -> None:
        self._partition = partition
        self._policy = policy
        self._position = position  # where the next batch begins
        self._leader_epoch = leader_epoch  # of the record before it
        self._waiting: deque[tuple[RecordBatch, float]] = deque()  # with their times of arrival
        self.rows = 0
        self.unpacked_bytes = 0
        self.held_bytes = 0

    def add(self, chunk: Chunk, now: float) -> None:
        """Take a chunk that arrived at `now` (seconds of a monotonic clock)."""
        for each in chunk.record_batches:
            self._waiting.append((each, now))
            self.rows += each.count
            self.unpacked_bytes += each.unpacked_bytes
            self.held_bytes += each.held_bytes

    def seconds_to_close(self, now: float, linger: float = 0.0) -> float | None:
        """Seconds until a batch closes: 0 is now, None is never (no records).

        A batch that is not full closes by the policy's time, or after `linger` if that is longer.
        """
        if not self._waiting:
            return None
        policy = self._policy
        if self.rows >= policy.rows or self.unpacked_bytes >= policy.unpacked_bytes:
            return 0.0
        arrived = self._waiting[0][1]
        return max(0.0, arrived + max(policy.seconds, linger) - now)

    @property
    def oldest(self) -> int | None:
        """When the first waiting record arrived in the log, in milliseconds."""
        return self._waiting[0][0].times.first if self._waiting else None

    def has_seen(self, offset: int) -> bool:
        """Whether a record at `offset` or later is here: the log up to it was read completely."""
        return bool(self._waiting) and self._waiting[-1][0].last >= offset

    def cut_to(self, last: int) -> Batch:
        """All records up to the offset `last`, without the policy's limits.

        The batch may be empty: the log can have lost these records.
        """
        taken: list[RecordBatch] = []
        while self._waiting and self._waiting[0][0].first <= last:
            each, arrived = self._waiting.popleft()
            if each.last > last:
                each = self._keep_rest(each, *split_after(each, last), arrived)
            taken.append(each)
        return self._batch(taken, last)

    def cut(self) -> Batch:
        """The next batch: at least one record, at most the policy's rows.

        The record batch that reaches the limit of bytes is the last.
        """
        taken: list[RecordBatch] = []
        rows = unpacked = 0
        policy = self._policy
        while self._waiting and rows < policy.rows and unpacked < policy.unpacked_bytes:
            each = self._take(policy.rows - rows)
            taken.append(each)
            rows += each.count
            unpacked += each.unpacked_bytes
        return self._batch(taken, taken[-1].last)

    def _take(self, most: int) -> RecordBatch:
        """The next record batch, or its first `most` records."""
        each, arrived = self._waiting.popleft()
        if each.count <= most:
            return each
        return self._keep_rest(each, *split(each, most), arrived)

    def _keep_rest(
        self, whole: RecordBatch, head: RecordBatch, rest: RecordBatch, arrived: float
    ) -> RecordBatch:
        """The `head` of `whole`; the `rest` goes on waiting."""
        self._waiting.appendleft((rest, arrived))
        self.held_bytes += head.held_bytes + rest.held_bytes - whole.held_bytes
        return head

    def _batch(self, taken: list[RecordBatch], last: int) -> Batch:
        batch = Batch.of(self._partition, self._position, last, tuple(taken), self._leader_epoch)
        self._position, self._leader_epoch = batch.end, batch.leader_epoch
        self.rows -= batch.count
        self.unpacked_bytes -= batch.unpacked_bytes
        self.held_bytes -= sum([each.held_bytes for each in taken])
        return batch
