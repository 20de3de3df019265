"""The lane of one partition: takes its runs, cuts batches and stores them one after another.

Lanes store at the same time, each its own partition: several inserts of 25,000 rows at once are
faster than one of 100,000, and a block that mixes partitions could not be recovered when one of
them moves to another worker.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from usagepipe.consumer.batch import Batch, BatchPolicy, Cutter
from usagepipe.consumer.records import Run, TopicPartition

# A lane holds the batch it stores, one that is full, and what is fetched until fetching stops.
FULL_BATCHES = 2


class Flow(Protocol):
    """Stops and resumes the fetching of a partition: back-pressure."""

    def on_buffer_full(self, tp: Any, /) -> None: ...
    def on_buffer_drop(self, tp: Any, /) -> None: ...


class Lane:
    """Stores one partition from `position` on, for as long as its tenure lasts."""

    def __init__(
        self,
        partition: TopicPartition,
        position: int,
        policy: BatchPolicy,
        store: Callable[[Batch], Awaitable[None]],
        acknowledge: Callable[[TopicPartition, int], None],
        flow: Flow,
    ) -> None:
        self._partition = partition
        self._cutter = Cutter(partition, position, policy)
        self._policy = policy
        self._store = store
        self._acknowledge = acknowledge
        self._flow = flow
        self._arrived = asyncio.Event()
        self._next_index = 0
        self._held = False
        self._draining = False
        self.position = position  # everything before it is stored

    @property
    def buffered_rows(self) -> int:
        return self._cutter.rows

    def take(self, run: Run) -> bool:
        """Take the next run. False: one before it got lost, so the partition must be read again."""
        if run.index != self._next_index:
            return False
        self._next_index += 1
        self._cutter.add(run, time.monotonic())
        self._arrived.set()
        self._press()
        return True

    def drain(self, *, keep: bool) -> None:
        """End `run()` after the batch in hand, or (`keep`) after all that was taken is stored."""
        self._draining = True
        if not keep:
            self._cutter = Cutter(self._partition, self.position, self._policy)
        self._arrived.set()

    async def run(self) -> None:
        """Cut, store, acknowledge; for ever, or until drained."""
        while (batch := await self._next_batch()) is not None:
            # 1. Store. A crash in here or after it repeats the batch: nothing was committed.
            await self._store(batch)
            # 2. Acknowledge. Committed soon, by the tenure's committer.
            self.position = batch.end
            self._acknowledge(self._partition, batch.end)
            self._press()

    async def _next_batch(self) -> Batch | None:
        while True:
            self._arrived.clear()
            wait = self._cutter.seconds_to_close(time.monotonic())
            if wait == 0 or (self._draining and wait is not None):
                return self._cutter.cut()
            if self._draining:
                return None
            with suppress(TimeoutError):  # the batch closes by time
                await asyncio.wait_for(self._arrived.wait(), wait)

    def _press(self) -> None:
        """Stop fetching at two batches in hand, resume below one."""
        full = self._fill()
        if not self._held and full >= FULL_BATCHES:
            self._held = True
            self._flow.on_buffer_full(self._partition)
        elif self._held and full < 1:
            self._held = False
            self._flow.on_buffer_drop(self._partition)

    def _fill(self) -> float:
        """How many batches wait, by the limit that is nearer."""
        cutter, policy = self._cutter, self._policy
        return max(cutter.rows / policy.rows, cutter.size / policy.size)
