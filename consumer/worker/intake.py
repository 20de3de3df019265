"""Takes the chunks of one partition and cuts batches from them: memory and back-pressure.

Fetching stops while a full batch waits after the one that is inserted, or while the worker's
memory is used up. It resumes at half a batch. A batch that is not full closes by time: each insert
has a fixed cost.
"""

import asyncio
import time

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.batch import Batch, BatchPolicy
from usagepipe.consumer.protocol.batcher import Batcher
from usagepipe.consumer.protocol.positions import Flow, ResumePoint
from usagepipe.consumer.worker.memory_budget import MemoryBudget

# While more records are in the log, a batch waits this long to become full.
BACKLOG_SECONDS = 2.0
# A batch that time closes waits twice as long as the last insert took, but never longer than this.
MOST_LINGER_SECONDS = 0.6
# While no insert may begin anyway, a batch grows, and this is the pause until the next look.
BUSY_SECONDS = 0.02


class Intake:
    """The records of one partition that wait, and the memory of those in work."""

    def __init__(
        self,
        partition: TopicPartition,
        start: ResumePoint,
        policy: BatchPolicy,
        memory: MemoryBudget,
        flow: Flow,
    ) -> None:
        self._partition = partition
        self._policy = policy
        self._memory = memory
        self._flow = flow
        self._batcher = Batcher(partition, start.offset, policy, start.leader_epoch)
        self._first_index = self._next_index = start.index
        self._waiting_bytes = 0  # of records in the batcher
        self._bytes_in_work = 0  # of batches, from the cut until they are stored
        self.arrived = asyncio.Event()  # something changed: look again
        self.paused = False
        self.recovering = start.pending is not None  # until the pending range is read completely
        self.log_goes_on = False  # after the last chunk

    @property
    def rows(self) -> int:
        return self._batcher.rows

    @property
    def oldest(self) -> int | None:
        return self._batcher.oldest

    @property
    def fill(self) -> float:
        """How many batches wait, by the nearer limit."""
        batcher, policy = self._batcher, self._policy
        return max(batcher.rows / policy.rows, batcher.unpacked_bytes / policy.unpacked_bytes)

    @property
    def has_room(self) -> bool:
        return self._memory.has_room(self._waiting_bytes)

    def take(self, chunk: Chunk) -> bool:
        """Take the next chunk. False: one before it is lost."""
        if chunk.index < self._first_index:
            return True
        if chunk.index != self._next_index:
            return False
        self._next_index += 1
        self._batcher.add(chunk, time.monotonic())
        self.log_goes_on = chunk.remaining > 0
        self._count_waiting()
        self.arrived.set()
        self.press()
        return True

    def drop(self, position: int) -> None:
        """Forget the waiting records, which begin at `position`: the next owner reads them."""
        self._batcher = Batcher(self._partition, position, self._policy)
        self._count_waiting()

    def has_seen(self, offset: int) -> bool:
        return self._batcher.has_seen(offset)

    def seconds_to_close(
        self, now: float, *, inserting: bool, last_insert_seconds: float, sink_is_busy: bool
    ) -> float | None:
        """How long until the next batch is cut: 0 is now, None is not before something happens.

        While a batch of the partition is inserted, time closes none: the next one would have to
        wait, and a larger one is cheaper.
        """
        # A slow server gets larger inserts.
        linger = min(MOST_LINGER_SECONDS, 2 * last_insert_seconds)
        if self.log_goes_on and not self.paused:
            linger = BACKLOG_SECONDS
        wait = self._batcher.seconds_to_close(now, linger)
        if wait is None or self.fill >= 1:
            return wait
        if inserting:
            return None
        if wait > 0 and self.has_room:
            return wait
        return BUSY_SECONDS if sink_is_busy else 0.0

    def cut(self) -> Batch | None:
        """The next batch; None while it is the turn of other partitions to unpack one."""
        if not self._memory.take_turn(self._next_bytes(), self.arrived):
            return None
        return self._begin(self._batcher.cut())

    def cut_to(self, last: int) -> Batch:
        """A batch of everything up to the offset `last`, without limits."""
        return self._begin(self._batcher.cut_to(last))

    def give_up_turn(self) -> None:
        """Let other partitions unpack their batches first."""
        self._memory.give_up(self.arrived)

    def end_work(self, unpacked_bytes: int) -> None:
        """A batch of `unpacked_bytes` is stored, or given up."""
        self._bytes_in_work -= unpacked_bytes
        self._memory.end(unpacked_bytes)

    def give_back(self) -> None:
        """Give the memory back to the other partition workers."""
        self.give_up_turn()
        self.end_work(self._bytes_in_work)
        self._memory.add(-self._waiting_bytes)
        self._waiting_bytes = 0

    def press(self) -> None:
        """Stop or resume fetching. A pending range of any size is read completely."""
        room = self.has_room
        if not self.paused and not self.recovering and (self.fill >= 1 or not room):
            self.paused = True
            self._flow.on_buffer_full(self._partition)
        elif self.paused and self.fill < 0.5 and room:
            self.paused = False
            self._flow.on_buffer_drop(self._partition)

    def _begin(self, batch: Batch) -> Batch:
        self._bytes_in_work += batch.unpacked_bytes
        self._memory.begin(batch.unpacked_bytes)
        self._count_waiting()
        self.press()  # the next one may be fetched while this one is stored
        return batch

    def _next_bytes(self) -> int:
        """About how many bytes the next batch will have when it is unpacked."""
        batcher, policy = self._batcher, self._policy
        rows = min(batcher.rows, policy.rows)
        return min(policy.unpacked_bytes, batcher.unpacked_bytes * rows // max(1, batcher.rows))

    def _count_waiting(self) -> None:
        self._memory.add(self._batcher.held_bytes - self._waiting_bytes)
        self._waiting_bytes = self._batcher.held_bytes
