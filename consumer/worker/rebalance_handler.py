"""Begins and ends assignments as the group gives and takes partitions: one at a time, or none.

Kafka may reassign, the broker may become unreachable and Faust may time out during a takeover. So
a takeover continues by itself until it is done or another one begins. Nothing that Faust calls here
raises, because an exception would leave the process up and idle.
"""

import asyncio
from collections.abc import Mapping, Set
from functools import partial
from typing import Protocol

import structlog

from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.lineage import Lineage
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.batch import BatchPolicy
from usagepipe.consumer.protocol.positions import (
    Membership,
    PartitionOffsets,
    Position,
)
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.runtime.causes import brief
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.lag import Progress
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import until_answered
from usagepipe.consumer.worker.assignment import Assignment
from usagepipe.consumer.worker.batch_sink import BatchSink
from usagepipe.consumer.worker.committer import Committer
from usagepipe.consumer.worker.memory_budget import MemoryBudget
from usagepipe.consumer.worker.partition_supervisor import (
    ParkingPlace,
    PartitionSupervisor,
    Reading,
)
from usagepipe.consumer.worker.partition_worker import PartitionWorker
from usagepipe.consumer.worker.takeover import where_to_start
from usagepipe.schemas.settings import WorkerSettings

log = structlog.get_logger()

# The longest that a rebalance waits for this worker: the rest of the group waits meanwhile.
RELEASE_SECONDS = 5.0
COMMIT_SECONDS = 1.0  # for the last commit of an assignment that ends


class Log(Protocol):
    """The consumer's side of the log; each call runs in the consumer's thread."""

    async def membership(self) -> Membership: ...
    async def positions(
        self, partitions: Set[TopicPartition]
    ) -> Mapping[TopicPartition, PartitionOffsets]: ...
    async def topic_identity(self, topic: str) -> TopicIdentity: ...
    async def seek_as(
        self, assignment_id: int, positions: Mapping[TopicPartition, Lineage]
    ) -> None: ...
    async def commit_as(
        self, membership: Membership, positions: Mapping[TopicPartition, Position]
    ) -> None: ...


class RebalanceHandler:
    """Holds the current assignment, if there is one."""

    def __init__(
        self,
        sink: BatchSink,
        parking: ParkingPlace,
        settings: WorkerSettings,
        metrics: WorkerMetrics,
        health: Health,
    ) -> None:
        self._sink = sink
        self._parking = parking
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._number = 0
        self._assignment: Assignment | None = None
        self._taking: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._assigned: Set[TopicPartition] | None = None  # None: in a rebalance, or stopping
        self._closed = False

    def assign(self, partitions: Set[TopicPartition]) -> None:
        """The group gave us `partitions`; `take_over` may begin."""
        self._assigned = frozenset(partitions)
        self._health.assigned = True  # with no partition too: a stand-by is a healthy worker

    async def take_over(self, log_: Log, flow: Reading) -> None:
        """Begin an assignment. Returns when it has begun, or may not begin."""
        if self._closed or self._assigned is None:
            return
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._take_over(log_, flow, self._assigned))
        # Faust may call from two places at once, and give up waiting. Waiting like this neither
        # ends the takeover when the caller is cancelled, nor raises when a rebalance cancels it:
        # an exception here would end Faust's recovery for good, and leave the process idle.
        await asyncio.wait([self._taking])

    async def release(self) -> None:
        """The group takes the partitions: end the assignment, quickly."""
        self._assigned = None
        self._health.assigned = False
        await self._end(RELEASE_SECONDS, keep=False)

    async def close(self) -> None:
        """The worker stops: store and commit what was fetched, within the drain time."""
        self._closed = True
        self._health.stopping = True
        refused = self._health.refusal is not None  # then nothing was begun, and nothing can be
        await self._end(0.0 if refused else self._settings.drain_seconds, keep=not refused)

    def feed(self, chunk: Chunk) -> bool:
        """Give a chunk to its partition.

        False: an earlier chunk is lost, so the caller must `take_over` again.
        """
        return self._assignment is None or self._assignment.feed(chunk)

    @property
    def broken(self) -> bool:
        """Whether partitions are assigned and nobody stores them."""
        if self._closed or self._assigned is None or not self._assigned:
            return False
        taking = self._taking is not None and not self._taking.done()
        return not taking and (self._assignment is None or self._assignment.broken)

    def is_of_another(self, topic: str, identity: TopicIdentity) -> bool:
        """Whether the assigned partitions are of a topic with this name but another identity."""
        return self._assignment is not None and any(
            partition.topic == topic and supervisor.topic != identity
            for partition, supervisor in self._assignment.supervisors.items()
        )

    def progress(self) -> dict[TopicPartition, Progress]:
        """How far each partition of the assignment has come."""
        supervisors = self._assignment.supervisors if self._assignment else {}
        return {partition: supervisor.progress for partition, supervisor in supervisors.items()}

    def buffered_rows(self) -> int:
        supervisors = self._assignment.supervisors.values() if self._assignment else ()
        return sum(supervisor.buffered_rows for supervisor in supervisors)

    async def _take_over(self, log_: Log, flow: Reading, partitions: Set[TopicPartition]) -> None:
        def failed(_: int, error: Exception) -> None:  # nothing has begun
            self._health.failed("kafka", error)
            log.warning("takeover_failed", error=brief(error), partitions=len(partitions))

        await until_answered(partial(self._try_to_take_over, log_, flow, partitions), failed)
        self._health.succeeded("kafka")

    async def _try_to_take_over(
        self, log_: Log, flow: Reading, partitions: Set[TopicPartition]
    ) -> None:
        # 1. End the old assignment, if a rebalance did not: two must never store one partition.
        await self._end_assignment(RELEASE_SECONDS, keep=False)
        for partition in partitions:
            flow.on_buffer_drop(partition)  # a partition worker that was cut short may have held it
        # 2. Remember who we are to the group, before reading what is committed: if the group
        #    moves on in between, every commit of this assignment is fenced.
        membership = await log_.membership()
        # 3. Read what was committed and what was pending. A crash up to here has changed nothing.
        found = await log_.positions(partitions)
        topics = {
            topic: await log_.topic_identity(topic) for topic in {tp.topic for tp in partitions}
        }
        starts = {tp: where_to_start(tp, found[tp], topics[tp.topic]) for tp in partitions}
        # 4. Begin, then seek: chunks with the new assignment_id find their supervisors. Each
        #    partition worker first recovers what was pending.
        self._number += 1
        memory = MemoryBudget(self._settings.buffer_megabytes << 20, len(partitions))
        committer = Committer(partial(log_.commit_as, membership), self._metrics, self._health)
        make_worker = partial(
            PartitionWorker,
            policy=BatchPolicy.of(self._settings),
            memory=memory,
            sink=self._sink,
            offsets=committer,
            flow=flow,
        )
        supervisors = {
            tp: PartitionSupervisor(tp, start, partial(make_worker, tp), self._parking, flow)
            for tp, start in starts.items()
        }
        self._assignment = Assignment(self._number, supervisors, committer)
        self._assignment.start()
        # Never below the log's start: aiokafka would reset such a position as it likes.
        await log_.seek_as(
            self._number,
            {
                tp: Lineage(max(start.offset, found[tp].start), start.leader_epoch)
                for tp, start in starts.items()
            },
        )
        self._metrics.assignments.inc()
        self._metrics.partitions.set(len(partitions))
        self._health.partitions = len(partitions)
        log.info("assignment_began", number=self._number, generation=membership.generation)

    async def _end(self, seconds: float, *, keep: bool) -> None:
        await self._cancel_taking()
        await self._end_assignment(seconds, keep=keep)
        self._health.partitions = 0
        self._metrics.partitions.set(0)

    async def _end_assignment(self, seconds: float, *, keep: bool) -> None:
        """End the assignment, or wait for one that is ending; not much longer than `seconds`.

        A rebalance in the middle of a stop must not give the partitions away while the stop
        still stores them.
        """
        assignment, self._assignment = self._assignment, None
        if assignment is not None:
            self._ending = asyncio.create_task(assignment.end(seconds, keep=keep))
        if self._ending is None:
            return
        await asyncio.wait([self._ending], timeout=seconds + COMMIT_SECONDS)
        if not self._ending.done():
            self._ending.cancel()
            await asyncio.gather(self._ending, return_exceptions=True)

    async def _cancel_taking(self) -> None:
        taking, self._taking = self._taking, None
        if taking is not None and not taking.done():
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
