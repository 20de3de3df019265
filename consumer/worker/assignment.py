"""An assignment: what this worker stores from one takeover to the next rebalance.

It owns one supervisor per partition and one committer. It commits only as the group member that it
was when it began (`Membership`): after that the partitions may be another worker's.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.worker.committer import Committer
from usagepipe.consumer.worker.partition_supervisor import PartitionSupervisor
from usagepipe.schemas.errors import UsagePipeError

log = structlog.get_logger()


@dataclass(slots=True)
class Assignment:
    """Supervisors and committer of one assignment."""

    number: int  # the assignment_id of its chunks
    supervisors: Mapping[TopicPartition, PartitionSupervisor]
    committer: Committer
    _supervising: list[asyncio.Task[None]] = field(default_factory=list, init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list, init=False)  # and committing

    def start(self) -> None:
        committing = asyncio.create_task(self.committer.run(), name="committer")
        self._supervising = [
            asyncio.create_task(supervisor.run(), name=f"store {partition}")
            for partition, supervisor in self.supervisors.items()
        ]
        self._tasks = [*self._supervising, committing]

    def feed(self, chunk: Chunk) -> bool:
        """Give a chunk to its partition. False: the log must be read again from the positions."""
        if chunk.assignment_id != self.number:
            return True  # fetched before this assignment sought its positions: not ours
        supervisor = self.supervisors.get(chunk.partition)
        return supervisor is not None and supervisor.take(chunk)

    async def end(self, seconds: float, *, keep: bool) -> None:
        """Let running inserts finish and be committed, for `seconds` at most; then stop.

        With `keep` (a stop), everything fetched is stored. Without it (a rebalance, which must be
        quick), the next owner of the partitions fetches it again.
        """
        try:
            await self._finish(seconds, keep=keep)
        finally:
            # Also when a rebalance cancels this wait: a task that remains would still try to
            # store what by then is another assignment's.
            await self._cancel()

    async def _finish(self, seconds: float, *, keep: bool) -> None:
        deadline = time.monotonic() + seconds
        for supervisor in self.supervisors.values():
            supervisor.drain(keep=keep)
        if self._supervising:
            await asyncio.wait(self._supervising, timeout=seconds)
        stored = all(task.done() for task in self._supervising)
        try:
            await asyncio.wait_for(self.committer.idle(), max(0.1, deadline - time.monotonic()))
            committed = True
        except TimeoutError:
            committed = False
        if not (stored and committed):
            log.warning("assignment_cut_short", seconds=seconds, stored=stored, committed=committed)

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, UsagePipeError):
                continue  # the health reports it; the worker ends
            if isinstance(ended, Exception):
                log.error("partition_worker_failed", exc_info=ended)

    @property
    def broken(self) -> bool:
        """Whether a supervisor or the committer ended by itself. Normally none does."""
        return any(task.done() for task in self._tasks)
