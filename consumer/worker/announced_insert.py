"""Inserts announced blocks of one partition, and repeats or divides what is not stored as prepared.

The numbers of the steps are those of `partition_worker`.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.protocol.block import Block, InsertResult, Outcome
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.worker.batch_sink import BatchSink


class Offsets(Protocol):
    """Where a partition worker announces and acknowledges: the assignment's committer."""

    async def announce(self, partition: TopicPartition, pending: Announcement) -> None: ...
    def acknowledge(
        self, partition: TopicPartition, end: int, topic_id: str, leader_epoch: int
    ) -> None: ...


@dataclass(slots=True)
class AnnouncedInsert:
    """Inserts until every record of an announced block is stored."""

    partition: TopicPartition
    topic: TopicIdentity
    sink: BatchSink
    offsets: Offsets
    stored: Callable[[Batch], None]  # called after each batch that is stored
    announced: Callable[[], None]  # called after each part of a batch that is announced
    last_seconds: float = 0.0  # that the last insert took

    async def insert(self, block: Block, *, is_retry: bool) -> bool:
        """Store everything of `block`. False: not every row is stored as it was prepared."""
        result = await self._try(block, is_retry)
        todo = deque(_left_to_do(block, is_retry, result))
        while todo:  # steps 1 to 5 for a part of the batch, or for all of it again
            batch, epoch, is_retry = todo.popleft()
            block = await self.sink.prepare(batch, self.topic, epoch)
            await self.offsets.announce(self.partition, block.pending)
            self.announced()
            again = await self._try(block, is_retry)
            todo.extendleft(reversed(_left_to_do(block, is_retry, again)))
        return result.outcome is Outcome.STORED

    async def _try(self, block: Block, is_retry: bool) -> InsertResult:
        began = time.monotonic()
        result = await self.sink.insert(block, is_retry=is_retry)
        self.last_seconds = time.monotonic() - began
        # After a dead letter, a duplicate of its event may be the one to store.
        if result.outcome in (Outcome.STORED, Outcome.LETTER):
            self.stored(block.batch)
        return result


def _left_to_do(
    block: Block, is_retry: bool, result: InsertResult
) -> list[tuple[Batch, int, bool]]:
    """What to announce and insert instead: batches in order, with their epoch and `is_retry`."""
    epoch = block.pending.epoch
    match result.outcome:
        case Outcome.REFUSED:
            # Nothing of it was stored, so it may be divided. Each part is announced as a range of
            # its own: a crash after that finds the part pending, and everything after it unread.
            return [(part, epoch, is_retry) for part in block.batch.divide(result.suspect)]
        case Outcome.INCOMPLETE:
            # The tables remember the old token, so the missing rows are written under a new epoch.
            # A crash after that announcement: the next owner does the same.
            return [(block.batch, epoch + 1, True)]
        case _:
            return []
