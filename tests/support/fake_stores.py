"""A store in memory, for partition workers and the rebalance handler."""

import asyncio

from tests.support.fake_records import parked_at
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.parked import Parked, ParkedError
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.protocol.block import Block, Duplicates, InsertResult, Outcome, make_block
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.rows.rows import Rows


class FakeSink:
    """Keeps what was inserted: (first, last, epoch, is_retry). Offsets in `poison` are refused."""

    def __init__(self) -> None:
        self.inserted: list[tuple[int, int, int, bool]] = []
        self.prepared: list[tuple[int, int, int | None]] = []  # first, last, first of the ahead
        self.letters: list[int] = []
        self.poison: set[int] = set()
        self.names_poison = False
        self.lossy = 0  # this number of inserts report missing rows
        self.stored_to = -1
        self.busy = False
        self.defect: Exception | None = None
        self.excess: set[int] = set()  # a batch with such an offset passes a limit
        self.begun = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return [(first, last) for first, last, _, _ in self.inserted]

    async def last_offset(self, partition: TopicPartition, topic_id: str, at_least: int) -> int:
        return max(self.stored_to, at_least - 1)

    async def prepare(
        self,
        batch: Batch,
        topic: TopicIdentity,
        epoch: int,
        announced: Announcement | None = None,
        ahead: Block | None = None,
    ) -> Block:
        self.prepared.append((batch.first, batch.last, ahead.batch.first if ahead else None))
        offsets = [record.offset for record in batch.records()]
        if self.excess.intersection(offsets):
            raise ParkedError(parked_at(batch.first, batch.last))
        rows = Rows(b"{}\n" * len(offsets), offsets, [str(n) for n in offsets], ())
        return make_block(batch, topic, epoch, rows, Duplicates(), frozenset(), announced)

    async def insert(self, block: Block, *, is_retry: bool) -> InsertResult:
        self.begun.set()
        await self.answers.wait()
        if self.defect is not None:
            raise self.defect
        bad = self.poison & set(block.rows.offsets)
        if bad and block.rows.count > 1:
            return InsertResult(Outcome.REFUSED, min(bad) if self.names_poison else None)
        pending = block.pending
        assert (block.batch.first, block.batch.last) == (pending.first, pending.last)
        self.inserted.append((pending.first, pending.last, pending.epoch, is_retry))
        self.letters += bad
        if self.lossy:
            self.lossy -= 1
            return InsertResult(Outcome.INCOMPLETE)
        return InsertResult(Outcome.LETTER if bad else Outcome.STORED)


class FakeParking:
    """Notes of parked partitions in memory; a partition resumes when `released` is set."""

    def __init__(self) -> None:
        self.standing: Parked | None = None
        self.parked: list[Parked] = []
        self.left = 0
        self.released = asyncio.Event()

    async def begin(self, partition: TopicPartition, topic_id: str, position: int) -> Parked | None:
        return self.standing

    async def park(self, parked: Parked) -> None:
        self.parked.append(parked)

    async def is_released(self, parked: Parked) -> bool:
        return self.released.is_set()

    def leave(self, partition: TopicPartition) -> None:
        self.left += 1
