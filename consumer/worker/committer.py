"""The only committer of an assignment: nothing else in the process writes an offset.

Positions of all partitions that come in while a commit is in flight go out together with the
next one (a commit takes longer than an insert), each superseding the one before it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.announcement import Announcement, acknowledgement
from usagepipe.consumer.protocol.positions import FencedError, Position
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import retry_delays

log = structlog.get_logger()


Commit = Callable[[Mapping[TopicPartition, Position]], Awaitable[None]]


class Committer:
    """Commits positions in the background, the newest of each partition."""

    def __init__(self, commit: Commit, metrics: WorkerMetrics, health: Health) -> None:
        self._commit = commit
        self._health = health
        self._metrics = metrics
        self._waiting: dict[TopicPartition, Position] = {}
        self._announced: dict[TopicPartition, tuple[Position, asyncio.Future[None]]] = {}
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.fenced = False

    def acknowledge(
        self, partition: TopicPartition, end: int, topic_id: str, leader_epoch: int
    ) -> None:
        """Commit `end` soon: everything before it in `partition` is stored for good.

        Nothing while an announcement of the partition waits: that acknowledges what is before it.
        """
        if partition in self._announced:
            return
        self._put(partition, Position(end, acknowledgement(topic_id, leader_epoch)))

    async def announce(self, partition: TopicPartition, pending: Announcement) -> None:
        """Commit that `pending` is about to be inserted, and that all before it is stored.

        Returns when it is committed: only then may the insert begin.

        Raises:
            FencedError: the group moved on; the insert must not begin.
        """
        done = asyncio.get_running_loop().create_future()
        position = Position(pending.first, pending.encode())
        self._announced[partition] = (position, done)
        self._put(partition, position)
        await done

    async def idle(self) -> None:
        """Wait until all positions are committed, or the committer is fenced."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit until cancelled or fenced. An unreachable broker is retried without limit."""
        delays = retry_delays()
        while True:
            await self._work.wait()
            self._work.clear()
            positions, self._waiting = self._waiting, {}
            try:
                await self._commit(positions)
            except FencedError as error:
                self._fence(error)
                return
            except Exception as error:  # any failure of a client is retried
                self._metrics.commit_failures.inc()
                self._health.failed("kafka", error, "commit")
                log.warning("commit_failed", error=repr(error), partitions=len(positions))
                self._waiting = positions | self._waiting  # what came in meanwhile is newer
                self._work.set()
                await asyncio.sleep(next(delays))
            else:
                delays = retry_delays()
                self._health.succeeded("kafka", "commit")
                self._committed(positions)

    def _put(self, partition: TopicPartition, position: Position) -> None:
        if self.fenced:
            self._fence(FencedError("the assignment is over"))
            return
        self._waiting[partition] = position
        self._idle.clear()
        self._work.set()

    def _committed(self, positions: Mapping[TopicPartition, Position]) -> None:
        for partition, position in positions.items():
            announced, done = self._announced.get(partition, (None, None))
            if done is not None and announced is position:  # not an acknowledgement before it
                del self._announced[partition]
                _resolve(done)
        if not self._waiting:
            self._idle.set()

    def _fence(self, error: FencedError) -> None:
        if not self.fenced:
            log.warning("commit_fenced", reason=str(error))
        self.fenced = True
        self._waiting.clear()
        for _, done in self._announced.values():
            _resolve(done, error)
        self._announced.clear()
        self._idle.set()


def _resolve(done: "asyncio.Future[None]", error: FencedError | None = None) -> None:
    if done.done():
        return  # its partition worker was cancelled
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
