"""The worker of one partition: takes its chunks, cuts batches and stores them one after another.

Partition workers store at the same time, each its own partition: several inserts of 25,000 rows at
once are faster than one of 100,000, and a block that mixes partitions could not be recovered when
one of them moves to another worker.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

import structlog

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.parked import ParkedError
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch, BatchPolicy
from usagepipe.consumer.protocol.batcher import Batcher
from usagepipe.consumer.protocol.block import FIRST_EPOCH, Block, Landing, Outcome
from usagepipe.consumer.protocol.positions import FencedError, Flow, ResumePoint
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.runtime.lag import Progress
from usagepipe.consumer.worker.memory_budget import MemoryBudget
from usagepipe.schemas.settings.worker import MAX_BATCH_ROWS

log = structlog.get_logger()

# While the log goes on, a batch waits so long to be full: an insert has a price, whatever its rows.
BACKLOG_SECONDS = 2.0
# A batch is acknowledged by the announcement of the next; alone after so long without one.
IDLE_SECONDS = 0.2
# A batch that its time closes waits twice as long as the last insert took, but never longer.
MOST_LINGER_SECONDS = 0.6
# While no insert may begin anyway, a batch grows on; so soon it looks again.
BUSY_SECONDS = 0.02


class Offsets(Protocol):
    """Where a partition worker announces and acknowledges: the assignment's committer."""

    async def announce(self, partition: TopicPartition, pending: Announcement) -> None: ...
    def acknowledge(
        self, partition: TopicPartition, end: int, topic_id: str, leader_epoch: int
    ) -> None: ...


class Store(Protocol):
    """Where a partition worker stores its batches (`storing.Storing`)."""

    @property
    def busy(self) -> bool: ...
    async def last_offset(self, partition: TopicPartition, topic_id: str, at_least: int) -> int: ...
    async def prepare(
        self,
        batch: Batch,
        topic: TopicIdentity,
        epoch: int,
        announced: Announcement | None = None,
        ahead: Block | None = None,
    ) -> Block: ...
    async def insert(self, block: Block, *, again: bool) -> Landing: ...


class _Part(NamedTuple):
    """A batch that is to be announced and inserted; `again`: it may have been inserted before."""

    batch: Batch
    epoch: int
    again: bool


class _Tried(NamedTuple):
    """What an insert came to: `plain`, or the `parts` to be done instead, in order."""

    parts: Sequence[_Part] = ()
    plain: bool = False


class PartitionWorker:
    """Stores one partition from `start` on, for as long as its assignment lasts."""

    def __init__(
        self,
        partition: TopicPartition,
        start: ResumePoint,
        policy: BatchPolicy,
        memory: MemoryBudget,
        store: Store,
        offsets: Offsets,
        flow: Flow,
    ) -> None:
        self._partition = partition
        self._start = start
        self._batcher = Batcher(partition, start.offset, policy, start.leader_epoch)
        self._policy = policy
        self._memory = memory
        self._waiting_bytes = 0  # of records in the batcher
        self._bytes_in_work = 0  # of batches, from the cut until they are stored
        self._store = store
        self._offsets = offsets
        self._flow = flow
        self._arrived = asyncio.Event()
        self._next_index = start.index
        self._paused = False
        self._draining = False
        self._keeping = False
        self._log_goes_on = False  # after the last chunk
        self._pending = start.pending  # until it is stored, or announced in parts
        self._recovering = start.pending is not None  # until the pending range is read whole
        self._in_hand: Block | None = None  # announced, and being inserted
        self._landing: asyncio.Task[bool] | None = None
        self._stored_at: float | None = None  # of a batch that is not acknowledged yet
        self._landed_in = 0.0  # seconds that the last insert took
        self._stored_to = -1  # the last offset that is stored though nobody announced it
        self.position = start.offset  # everything before it is stored
        self._leader_epoch = start.leader_epoch  # of the record before it
        self._begun: deque[tuple[int, int]] = deque()  # ends and first times of unstored batches
        self._newest: int | None = None

    @property
    def progress(self) -> Progress:
        """How far it has come, for metrics."""
        oldest = self._begun[0][1] if self._begun else self._batcher.oldest
        return Progress(self.position, oldest, self._newest)

    @property
    def topic(self) -> TopicIdentity:
        return self._start.topic

    @property
    def buffered_rows(self) -> int:
        return self._batcher.rows

    @property
    def rest(self) -> ResumePoint:
        """Where another partition worker of the partition goes on after this one has ended."""
        return ResumePoint(self.position, self.topic, self._pending, self._leader_epoch)

    def take(self, chunk: Chunk) -> bool:
        """Take the next chunk. False: one before it is lost: read the partition again."""
        if self._draining and not self._keeping:
            return True  # the next owner's
        if chunk.index < self._start.index:
            return True
        if chunk.index != self._next_index:
            return False
        self._next_index += 1
        self._batcher.add(chunk, time.monotonic())
        self._log_goes_on = chunk.remaining > 0
        self._count_waiting()
        self._arrived.set()
        self._press()
        return True

    def drain(self, *, keep: bool) -> None:
        """End `run()` after the batch in hand, or (`keep`) after all that was taken is stored."""
        self._draining, self._keeping = True, keep
        if not keep:
            self._batcher = Batcher(self._partition, self.position, self._policy)
            self._count_waiting()
        self._arrived.set()

    async def run(self) -> None:
        """Recover, then announce, store and acknowledge; for ever, until drained or fenced.

        Raises:
            ParkedError: the partition must be parked. All before `position` is stored.
        """
        with suppress(FencedError):  # told by the committer; what was announced is the next owner's
            try:
                if self._start.pending is not None and not await self._recover(self._start.pending):
                    return  # never cut what lies inside a range that may have landed
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

    async def _store_all(self) -> None:
        """Store batch after batch. While one is inserted, the next is prepared."""
        while (batch := await self._next_batch()) is not None and await self._store_next(batch):
            del batch  # the partition worker may wait for the next one for hours
        await self._settle()
        self._acknowledge()

    async def _store_next(self, batch: Batch) -> bool:
        """Have `batch` inserted, behind the one in hand. False: it is the next owner's."""
        # 1. Prepare: decode, and look up what is stored already. A crash in here costs nothing:
        #    nothing was inserted; the records are read and cut again, perhaps elsewhere.
        epoch, again = self._doubt(batch)
        block = await self._prepare(batch, epoch)
        if not await self._settle():
            block = await self._prepare(batch, epoch)
        if self._draining and not self._keeping:
            return False
        # 2. Announce: commit the batch's start with its exact range as metadata. This same
        #    commit acknowledges the batch before. A crash before it: as 1.
        await self._offsets.announce(self._partition, block.pending)
        self._stored_at = None
        # 3. Insert, under a token of that range. A crash in here, or after it, makes the next
        #    owner send exactly this range again under the same token: the tables drop what
        #    they have.
        self._insert_soon(block, again)
        # 4. Acknowledge, with the next announcement or alone when idle. A crash before: as 3.
        return True

    async def _prepare(self, batch: Batch, epoch: int) -> Block:
        return await self._store.prepare(batch, self._start.topic, epoch, ahead=self._in_hand)

    def _insert_soon(self, block: Block, again: bool) -> None:
        self._in_hand = block
        self._landing = asyncio.create_task(self._land(block, again))
        self._landing.add_done_callback(lambda _: self._arrived.set())

    async def _settle(self) -> bool:
        """Wait until the block in hand has landed. False: not as whoever was prepared assumed."""
        landing, self._landing = self._landing, None
        self._in_hand = None
        return landing is None or await landing

    async def _abandon(self) -> None:
        """Cut short: the block in hand is announced, so it is the next owner's."""
        landing, self._landing = self._landing, None
        if landing is not None:
            landing.cancel()
            await asyncio.gather(landing, return_exceptions=True)

    async def _recover(self, pending: Announcement) -> bool:
        """Send the range that an owner before us had announced: exactly it, whatever its size.

        No announcement is needed, it stands. A crash in here: the next owner recovers it again.
        False: drained before the range was read whole; it still is pending. What no worker can
        have announced is nothing pending.
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
        block = await self._store.prepare(batch, self._start.topic, pending.epoch, pending)
        await self._land(block, True)
        self._pending = None
        log.info("range_recovered", partition=str(self._partition), rows=batch.count)
        return True

    async def _land(self, block: Block, again: bool) -> bool:
        """Insert the announced `block`, and go the long way round where that won't do.

        False: not every row of it is stored as it was prepared.
        """
        size = block.batch.unpacked_bytes
        tried = await self._try(block, again)
        todo = deque(tried.parts)
        while todo:
            # Steps 1 to 3 for a part of the batch, or for all of it once more.
            part = todo.popleft()
            block = await self._store.prepare(part.batch, self._start.topic, part.epoch)
            await self._offsets.announce(self._partition, block.pending)
            self._pending = None
            self._stored_at = None
            todo.extendleft(reversed((await self._try(block, part.again)).parts))
        self._end_work(size)
        return tried.plain

    async def _try(self, block: Block, again: bool) -> "_Tried":
        """Insert the announced `block`; what is to be done instead where it is not."""
        began = time.monotonic()
        landing = await self._store.insert(block, again=again)
        self._landed_in = time.monotonic() - began
        epoch = block.pending.epoch
        match landing.outcome:
            case Outcome.STORED:
                self._stored(block.batch)
                return _Tried(plain=True)
            case Outcome.LETTER:
                self._stored(block.batch)
                return _Tried()  # a copy of its event behind it may be the one to store
            case Outcome.REFUSED:
                # Nothing of it landed, so it may be cut. Each part is announced as a range of its
                # own: a crash after that finds the part pending, and what lies behind it as
                # unread as if it had never been tried.
                parts = block.batch.divide(landing.suspect)
                return _Tried([_Part(part, epoch, again) for part in parts])
            case Outcome.INCOMPLETE:
                # What is missing is written under a new epoch, since the tables remember the old
                # token. A crash after that announcement: the next owner does the same again.
                return _Tried([_Part(block.batch, epoch + 1, True)])

    async def _look_for_stored(self) -> None:
        """Find rows behind the committed offset that nobody announced.

        A broker that drops the metadata of commits (a laptop's) leaves them after each crash, and
        commits that expired: what is stored of them must not be stored again.
        """
        self._stored_to = await self._store.last_offset(
            self._partition, self._start.topic.topic_id, self.position
        )
        if self._stored_to >= self.position:
            log.warning(
                "rows_behind_commit",
                partition=str(self._partition),
                committed=self.position,
                last_stored=self._stored_to,
            )

    def _doubt(self, batch: Batch) -> tuple[int, bool]:
        """The epoch to begin with, and whether the batch may have been inserted before.

        Where rows are stored that nobody announced, only what is missing is written; the last of
        them may be of an insert that never reached the rollups.
        """
        if batch.first > self._stored_to:
            return FIRST_EPOCH, False
        return FIRST_EPOCH + 1, batch.last > self._stored_to - MAX_BATCH_ROWS

    def _stored(self, batch: Batch) -> None:
        self.position, self._leader_epoch = batch.end, batch.leader_epoch
        while self._begun and self._begun[0][0] <= batch.end:
            self._begun.popleft()
        if batch.record_batches:
            self._newest = batch.record_batches[-1].times.last
        self._stored_at = time.monotonic()
        self._press()

    def _acknowledge(self) -> None:
        if self._stored_at is not None:
            self._stored_at = None
            topic_id = self._start.topic.topic_id
            self._offsets.acknowledge(self._partition, self.position, topic_id, self._leader_epoch)

    async def _pending_batch(self, pending: Announcement) -> Batch | None:
        """The pending range as soon as a record at or behind its end was seen: all limits off."""
        while not self._draining:
            self._arrived.clear()
            if self._batcher.has_seen(pending.last):
                self._recovering = False
                return self._begin(self._batcher.cut_to(pending.last))
            if self._batcher.rows > pending.records:
                # It holds more than was announced, and its end is not in sight: nobody's range,
                # and with the limits off it would fill the memory.
                log.error(
                    "pending_range_unsound",
                    partition=str(self._partition),
                    first=pending.first,
                    last=pending.last,
                )
                self._recovering = False
                return None
            await self._arrived.wait()
        return None

    async def _next_batch(self) -> Batch | None:
        while True:
            self._arrived.clear()
            if self._landing is not None and (self._landing.done() or self._draining):
                await self._settle()  # whatever ended it ends the partition worker
            self._press()  # others may have made room
            now = time.monotonic()
            wait = self._seconds_to_close(now)
            if wait is None and self._draining:
                return None
            if wait == 0 or self._draining:
                if self._memory.take_turn(self._next_size(), self._arrived):
                    return self._begin(self._batcher.cut())
                wait = None  # it grows until it has its turn
            else:
                self._memory.give_up(self._arrived)  # others may begin meanwhile
            if self._stored_at is not None and self._landing is None:
                idle = self._stored_at + IDLE_SECONDS - now
                if idle <= 0:
                    self._acknowledge()
                else:
                    wait = idle if wait is None else min(wait, idle)
            with suppress(TimeoutError):  # the batch closes by time, or idle time is over
                await asyncio.wait_for(self._arrived.wait(), wait)

    def _next_size(self) -> int:
        """About how many bytes the next batch will have when it is unpacked."""
        batcher, policy = self._batcher, self._policy
        return min(
            policy.unpacked_bytes,
            batcher.unpacked_bytes * min(batcher.rows, policy.rows) // max(1, batcher.rows),
        )

    def _begin(self, batch: Batch) -> Batch:
        if batch.record_batches:
            self._begun.append((batch.end, batch.record_batches[0].times.first))
        self._bytes_in_work += batch.unpacked_bytes
        self._memory.begin(batch.unpacked_bytes)
        self._count_waiting()
        self._press()  # the next one may be fetched while this one is stored
        return batch

    def give_back(self) -> None:
        """Give the memory back to the other partition workers."""
        self._memory.give_up(self._arrived)
        self._end_work(self._bytes_in_work)
        self._memory.add(-self._waiting_bytes)
        self._waiting_bytes = 0

    def _end_work(self, size: int) -> None:
        self._bytes_in_work -= size
        self._memory.end(size)

    def _seconds_to_close(self, now: float) -> float | None:
        """How long until the next batch is cut: 0 is now, None is not before something happens.

        Time closes none while another is in hand: it would have to wait, and larger ones are
        cheaper.
        """
        # A server that takes long is spared small inserts: each has a price, whatever its rows.
        linger = min(MOST_LINGER_SECONDS, 2 * self._landed_in)
        if self._log_goes_on and not self._paused:
            linger = BACKLOG_SECONDS
        wait = self._batcher.seconds_to_close(now, linger)
        if wait is None or self._fill() >= 1:
            return wait
        if self._landing is not None:
            return None
        if wait > 0 and self._memory.has_room(self._waiting_bytes):
            return wait
        return BUSY_SECONDS if self._store.busy else 0.0

    def _press(self) -> None:
        """Stop fetching while a full batch waits behind the one in hand, go on at half of one.

        A pending range is read whole, whatever its size.
        """
        room = self._memory.has_room(self._waiting_bytes)
        if not self._paused and not self._recovering and (self._fill() >= 1 or not room):
            self._paused = True
            self._flow.on_buffer_full(self._partition)
        elif self._paused and self._fill() < 0.5 and room:
            self._paused = False
            self._flow.on_buffer_drop(self._partition)

    def _count_waiting(self) -> None:
        self._memory.add(self._batcher.held_bytes - self._waiting_bytes)
        self._waiting_bytes = self._batcher.held_bytes

    def _fill(self) -> float:
        """How many batches wait, by the limit that is nearer."""
        batcher, policy = self._batcher, self._policy
        return max(batcher.rows / policy.rows, batcher.unpacked_bytes / policy.unpacked_bytes)
