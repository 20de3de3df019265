"""The one committer of a tenure: nothing else in the process writes an offset.

Positions of all partitions that come in while a commit is in flight go out together with the
next one (a commit takes longer than an insert), each superseding the one before it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from usagepipe.consumer.backoff import SERVER_AWAY
from usagepipe.consumer.metrics import WorkerMetrics
from usagepipe.consumer.records import TopicPartition

log = structlog.get_logger()

Commit = Callable[[Mapping[TopicPartition, int]], Awaitable[None]]


class FencedError(Exception):
    """The group moved on: this tenure's partitions may be another worker's by now."""


class Committer:
    """Commits positions in the background, the newest of each partition."""

    def __init__(self, commit: Commit, metrics: WorkerMetrics) -> None:
        self._commit = commit
        self._metrics = metrics
        self._waiting: dict[TopicPartition, int] = {}
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.committed: dict[TopicPartition, int] = {}
        self.fenced = False

    def acknowledge(self, partition: TopicPartition, end: int) -> None:
        """Commit `end` soon: everything before it in `partition` is stored for good."""
        self._waiting[partition] = end
        self._idle.clear()
        self._work.set()

    async def idle(self) -> None:
        """Wait until everything acknowledged so far is committed, or never will be."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit until cancelled or fenced. A broker that is away is tried again for ever."""
        delays = SERVER_AWAY.delays()
        while True:
            await self._work.wait()
            self._work.clear()
            positions, self._waiting = self._waiting, {}
            try:
                await self._commit(positions)
            except FencedError as error:
                log.warning("commit_fenced", reason=str(error), partitions=len(positions))
                self.fenced = True
                self._idle.set()
                return
            except Exception as error:  # any failure of a client: it is tried again
                self._metrics.commit_failures.inc()
                log.warning("commit_failed", error=repr(error), partitions=len(positions))
                self._waiting = positions | self._waiting  # what came in meanwhile is newer
                self._work.set()
                await asyncio.sleep(next(delays))
            else:
                delays = SERVER_AWAY.delays()
                self.committed.update(positions)
                if not self._waiting:
                    self._idle.set()
