"""The worker of one partition: cuts batches from its chunks and stores them one after another.

Partition workers store at the same time, each its own partition: several inserts of 25,000 rows at
once are faster than one of 100,000, and a block that mixes partitions could not be recovered when
one of them moves to another worker.

The steps of a batch, and what a crash after each of them costs:

1. Prepare: decode the records, price them with the active price book, look up what is stored
   already (`preparation`). A crash costs nothing: nothing was inserted; the records are read and
   cut again, perhaps elsewhere and with another book.
2. Announce: commit the batch's start, with its exact range, the cost rule and the version of the
   price book as metadata. The same commit acknowledges the batch before. A crash before it: as 1.
   After it, the next owner sends exactly this range again with the same prices under the same
   token (recovery): the tables drop what they have. It waits until it can read that price book.
3. Insert under a token of that range (`insertion`). A crash in it or after it: as 2.
4. Verify, where the result is undecided: a try without an answer, or a recovery. Missing rows are
   announced and written under a new epoch, and the rollups of the range are rebuilt from raw
   rows. A crash: the next owner does the same.
5. Send the dead letters. A crash after it sends them again, with the same coordinates.
6. Acknowledge: with the next announcement, or alone when idle. A crash before it: as 2.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress

import structlog

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.parked import ParkedError
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch, BatchPolicy
from usagepipe.consumer.protocol.block import FIRST_EPOCH, Block
from usagepipe.consumer.protocol.positions import FencedError, Flow, ResumePoint
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.runtime.lag import Progress
from usagepipe.consumer.worker.announced_insert import AnnouncedInsert, Offsets
from usagepipe.consumer.worker.batch_sink import BatchSink
from usagepipe.consumer.worker.intake import Intake
from usagepipe.consumer.worker.memory_budget import MemoryBudget
from usagepipe.schemas.settings.worker import MAX_BATCH_ROWS

log = structlog.get_logger()

# A batch is acknowledged by the next announcement, or alone after this time without one.
IDLE_SECONDS = 0.2


class PartitionWorker:
    """Stores one partition from `start` on, until its assignment ends."""

    def __init__(
        self,
        partition: TopicPartition,
        start: ResumePoint,
        policy: BatchPolicy,
        memory: MemoryBudget,
        sink: BatchSink,
        offsets: Offsets,
        flow: Flow,
    ) -> None:
        self._partition = partition
        self._start = start
        self._intake = Intake(partition, start, policy, memory, flow)
        self._sink = sink
        self._offsets = offsets
        self._insert = AnnouncedInsert(
            partition, start.topic, sink, offsets, self._stored, self._announced
        )
        self._draining = False
        self._keeping = False
        self._pending = start.pending  # until it is stored, or announced in parts
        self._in_hand: Block | None = None  # announced, and being inserted
        self._inserting: asyncio.Task[bool] | None = None
        self._stored_at: float | None = None  # of a batch that is not acknowledged yet
        self._stored_to = -1  # the last offset that is stored without an announcement
        self.position = start.offset  # everything before it is stored
        self._leader_epoch = start.leader_epoch  # of the record before it
        self._begun: deque[tuple[int, int]] = deque()  # ends and first times of unstored batches
        self._newest: int | None = None

    @property
    def progress(self) -> Progress:
        """How far it has come, for metrics."""
        oldest = self._begun[0][1] if self._begun else self._intake.oldest
        return Progress(self.position, oldest, self._newest)

    @property
    def topic(self) -> TopicIdentity:
        return self._start.topic

    @property
    def buffered_rows(self) -> int:
        return self._intake.rows

    @property
    def rest(self) -> ResumePoint:
        """Where the next worker of the partition resumes after this one has ended."""
        return ResumePoint(self.position, self.topic, self._pending, self._leader_epoch)

    def take(self, chunk: Chunk) -> bool:
        """Take the next chunk. False: one before it is lost: read the partition again."""
        if self._draining and not self._keeping:
            return True  # the next owner's
        return self._intake.take(chunk)

    def drain(self, *, keep: bool) -> None:
        """End `run()` after the batch in hand, or (`keep`) after everything taken is stored."""
        self._draining, self._keeping = True, keep
        if not keep:
            self._intake.drop(self.position)
        self._intake.arrived.set()

    async def run(self) -> None:
        """Recover, then store batch after batch until drained or fenced.

        Raises:
            ParkedError: the partition must be parked. Everything before `position` is stored.
        """
        with suppress(FencedError):  # the committer logs it; the next owner has what was announced
            try:
                if self._start.pending is not None and not await self._recover(self._start.pending):
                    return  # never cut what lies inside a range that may have been inserted
                await self._look_for_stored()
                await self._store_all()
            except ParkedError:
                await self._settle()  # the batch before may have to be parked itself
                self._acknowledge()
                raise
            finally:
                try:
                    await self._abandon()
                finally:
                    self.give_back()

    def give_back(self) -> None:
        """Give the memory back to the other partition workers."""
        self._intake.give_back()

    async def _store_all(self) -> None:
        """Store batch after batch. While one is inserted, the next is prepared."""
        while (batch := await self._next_batch()) is not None and await self._store_next(batch):
            del batch  # the next one may come hours later
        await self._settle()
        self._acknowledge()

    async def _store_next(self, batch: Batch) -> bool:
        """Have `batch` inserted after the one in hand. False: it is the next owner's."""
        # Step 1: prepare, while the batch before is being inserted.
        epoch, is_retry = self._first_epoch(batch)
        block = await self._prepare(batch, epoch)
        if not await self._settle():
            block = await self._prepare(batch, epoch)
        if self._draining and not self._keeping:
            return False
        # Step 2: announce. Step 6 of the batch before.
        await self._offsets.announce(self._partition, block.pending)
        self._stored_at = None
        # Steps 3 to 5, in a task: the next batch is prepared meanwhile.
        self._in_hand = block
        self._inserting = asyncio.create_task(self._store(block, is_retry))
        self._inserting.add_done_callback(lambda _: self._intake.arrived.set())
        return True

    async def _prepare(self, batch: Batch, epoch: int) -> Block:
        return await self._sink.prepare(batch, self.topic, epoch, ahead=self._in_hand)

    async def _store(self, block: Block, is_retry: bool) -> bool:
        unpacked_bytes = block.batch.unpacked_bytes
        is_stored_as_prepared = await self._insert.insert(block, is_retry=is_retry)
        self._intake.end_work(unpacked_bytes)
        return is_stored_as_prepared

    async def _settle(self) -> bool:
        """Wait until the block in hand is stored. False: not as it was prepared."""
        inserting, self._inserting = self._inserting, None
        self._in_hand = None
        return inserting is None or await inserting

    async def _abandon(self) -> None:
        """Cancel the insert of the block in hand. It is announced, so the next owner has it."""
        inserting, self._inserting = self._inserting, None
        if inserting is not None:
            inserting.cancel()
            await asyncio.gather(inserting, return_exceptions=True)

    async def _recover(self, pending: Announcement) -> bool:
        """Send the range that an earlier owner announced: exactly it, of any size.

        Its announcement stands, so step 2 is left out. False: drained before the range was read
        completely; it is still pending. A range that no worker can have announced is ignored.
        """
        batch = await self._pending_batch(pending)
        if batch is None:
            return not self._draining
        if batch.count != pending.records:
            log.error(
                "pending_range_changed",
                partition=str(self._partition),
                first=pending.first,
                last=pending.last,
                announced=pending.records,
                found=batch.count,
            )
        block = await self._sink.prepare(batch, self.topic, pending.epoch, pending)
        await self._store(block, True)
        self._pending = None
        log.info("range_recovered", partition=str(self._partition), rows=batch.count)
        return True

    async def _pending_batch(self, pending: Announcement) -> Batch | None:
        """The pending range, when a record at its end or later was read: without limits."""
        while not self._draining:
            self._intake.arrived.clear()
            if self._intake.has_seen(pending.last):
                self._intake.recovering = False
                return self._begin(self._intake.cut_to(pending.last))
            if self._intake.rows > pending.records:
                # More records than were announced, and no end in sight: no worker announced this,
                # and without limits it would fill the memory.
                log.error(
                    "pending_range_unsound",
                    partition=str(self._partition),
                    first=pending.first,
                    last=pending.last,
                )
                self._intake.recovering = False
                return None
            await self._intake.arrived.wait()
        return None

    async def _look_for_stored(self) -> None:
        """Find rows after the committed offset that no commit announced: they are stored already.

        They remain after a crash if the group's commits expired, or if the log lost its end. The
        broker of `usagepipe local` keeps no announcements, so there every crash leaves such rows.
        """
        self._stored_to = await self._sink.last_offset(
            self._partition, self.topic.topic_id, self.position
        )
        if self._stored_to >= self.position:
            log.warning(
                "rows_after_commit",
                partition=str(self._partition),
                committed=self.position,
                last_stored=self._stored_to,
            )

    def _first_epoch(self, batch: Batch) -> tuple[int, bool]:
        """The epoch to begin with, and whether the batch may have been inserted before.

        Where rows are stored without an announcement, only missing ones are written. The last of
        the stored rows may be of an insert that never reached the rollups.
        """
        if batch.first > self._stored_to:
            return FIRST_EPOCH, False
        return FIRST_EPOCH + 1, batch.last > self._stored_to - MAX_BATCH_ROWS

    def _announced(self) -> None:
        """A part of a batch is announced, instead of the whole."""
        self._pending = None
        self._stored_at = None

    def _stored(self, batch: Batch) -> None:
        self.position, self._leader_epoch = batch.end, batch.leader_epoch
        while self._begun and self._begun[0][0] <= batch.end:
            self._begun.popleft()
        if batch.record_batches:
            self._newest = batch.record_batches[-1].times.last
        self._stored_at = time.monotonic()
        self._intake.press()

    def _acknowledge(self) -> None:
        """Step 6, when no announcement follows."""
        if self._stored_at is not None:
            self._stored_at = None
            topic_id = self.topic.topic_id
            self._offsets.acknowledge(self._partition, self.position, topic_id, self._leader_epoch)

    async def _next_batch(self) -> Batch | None:
        """The next batch as soon as it is closed; None when drained."""
        intake = self._intake
        while True:
            intake.arrived.clear()
            if self._inserting is not None and (self._inserting.done() or self._draining):
                await self._settle()  # its error, if any, ends the partition worker
            intake.press()  # others may have made room
            now = time.monotonic()
            wait = intake.seconds_to_close(
                now,
                inserting=self._inserting is not None,
                last_insert_seconds=self._insert.last_seconds,
                sink_is_busy=self._sink.busy,
            )
            if wait is None and self._draining:
                return None
            if wait == 0 or self._draining:
                if (batch := intake.cut()) is not None:
                    return self._begin(batch)
                wait = None  # it grows until it has its turn
            else:
                intake.give_up_turn()
            if self._stored_at is not None and self._inserting is None:
                idle = self._stored_at + IDLE_SECONDS - now
                if idle <= 0:
                    self._acknowledge()
                else:
                    wait = idle if wait is None else min(wait, idle)
            with suppress(TimeoutError):  # the batch closes by time, or the idle time is over
                await asyncio.wait_for(intake.arrived.wait(), wait)

    def _begin(self, batch: Batch) -> Batch:
        if batch.record_batches:
            self._begun.append((batch.end, batch.record_batches[0].times.first))
        return batch
