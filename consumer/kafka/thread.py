"""aiokafka's consumer in the thread that Faust gives it: fetches chunks, seeks, and commits.

Everything that touches the consumer runs in that thread. What other parts call
(`rebalance_handler.Log`) is at the end of the class; it crosses over by `_call`, because Faust's
own queue has two workers and a fetch holds one of them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Set
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition as AIOTopicPartition
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as stock

from usagepipe.consumer.kafka.fetching import (
    as_record_batches,
    keep_fetched_bytes,
    take_record_batches,
    wait_for_more,
)
from usagepipe.consumer.kafka.group_session import GroupSession
from usagepipe.consumer.kafka.log_watch import LogWatch
from usagepipe.consumer.kafka.starting import await_topic, when_answered
from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.lineage import Lineage
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Membership, PartitionOffsets, Position
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.runtime.lag import LogEnd
from usagepipe.consumer.topics.leaders import log_ends
from usagepipe.consumer.topics.topic_identity import topic_identity

Result = TypeVar("Result")

log = structlog.get_logger()

# How long a fetch of an idle partition blocks the busy ones of its broker (stock: 1,500).
FETCH_WAIT_MS: Final = 100
ASIDE_SECONDS: Final = 0.05  # between two looks whether the worker may join the group again


class ChunkThread(stock.AIOKafkaConsumerThread, GroupSession):
    """aiokafka's consumer in its own thread: fetches chunks, seeks, commits under a membership."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._assignment_id = 0
        self._indexes: dict[TopicPartition, int] = {}
        self._watch = LogWatch()
        self._seeking: Future[None] | None = None

    async def on_start(self) -> None:
        """Start the consumer; wait for a broker that is unreachable (stock: the process exits)."""
        await when_answered(super().on_start, self._discard)
        coordinator = self._ensure_consumer()._coordinator
        coordinator._do_rejoin_group = partial(self._rejoin, coordinator._do_rejoin_group)

    async def _rejoin(self, rejoin: Callable[[Any], Awaitable[bool]], subscription: Any) -> bool:
        """As stock, but out of the group while this worker must not hold partitions.

        aiokafka has revoked the partitions by now, and calls again after a False until it closes.
        """
        if cast(Any, self.app).admission.open:
            return await rejoin(subscription)
        consumer = self._ensure_consumer()
        await consumer._coordinator._maybe_leave_group()
        await asyncio.sleep(ASIDE_SECONDS)
        # Otherwise aiokafka takes the pause for a consumer that hangs, and never joins again.
        consumer._fetcher._subscriptions._last_fetch_ended = time.monotonic()
        return False

    def leave(self) -> None:
        """Give up the partitions, and leave the group until the admission is open again."""
        coordinator = self._ensure_consumer()._coordinator
        self.thread_loop.call_soon_threadsafe(coordinator.request_rejoin)

    async def on_thread_stop(self) -> None:
        """Leave the group. If the broker is unreachable, log no traceback."""
        try:
            await super().on_thread_stop()
        except (KafkaError, asyncio.CancelledError) as error:
            log.debug("consumer_stop_failed", error=repr(error))

    async def _discard(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        # Records of another program's transaction count only when it is committed.
        consumer._isolation_level = "read_committed"
        keep_fetched_bytes()
        return consumer

    def look_again(self) -> None:
        """End a wait for records, since a partition that was paused may have some already.

        aiokafka ends a wait only when a new answer arrives. Without this call, the records of the
        paused partition would wait for a second, the whole of Faust's wait.
        """
        with suppress(RuntimeError):  # the thread's loop is closed: the worker stops
            self.thread_loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._consumer is not None:
            for waiting in list(self._consumer._fetcher._fetch_waiters):
                if not waiting.done():
                    waiting.set_result(None)

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: Set[Any],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> RecordMap:
        """As stock, but in whole record batches, and it sees partitions that resume meanwhile."""
        deadline = time.monotonic() + (timeout or 0.0)
        while True:
            fetched: RecordMap = {}
            if active := set(active_partitions):  # to aiokafka, none would be all
                take_record_batches(consumer._fetcher, self._watch.missing)
                try:
                    fetched = await super()._fetch_records(consumer, active, 0.0, max_records)
                except NoOffsetForPartitionError:
                    await asyncio.sleep(FETCH_WAIT_MS / 1000)  # until the takeover has sought it
                except OffsetOutOfRangeError as error:
                    await self._find_log(error)
                    await asyncio.sleep(FETCH_WAIT_MS / 1000)
            if self._watch.missing:
                self._watch.log_missing(cast(Any, self.app).metrics)
            # No await between the fetcher's answer and the assignment_id: no seek comes in between.
            if chunks := {tp: [self._chunk(consumer, tp, found)] for tp, found in fetched.items()}:
                return await self._of_the_same_log(chunks)
            if not self.consumer.flow_active or consumer._fetcher._closed:
                return {}
            if not await wait_for_more(consumer._fetcher, deadline):
                return {}

    async def _find_log(self, error: OffsetOutOfRangeError) -> None:
        """Resume at the log start when retention deleted unread records, and log the lost range.

        Stock aiokafka logs nothing. The partition workers store what they have. It must not raise,
        since Faust's fetcher would end: aiokafka raises the same error again.
        """
        positions = {TopicPartition(*tp): offset for tp, offset in error.args[0].items()}
        try:
            starts = await self._starts(positions)
            for partition, offset in positions.items():
                if self._position(partition) != offset:
                    continue  # it was sought, or taken away, while we asked
                if offset < starts[partition]:
                    self._ensure_consumer().seek(AIOTopicPartition(*partition), starts[partition])
                    lost = {"first": offset, "last": starts[partition] - 1}
                    log.error("records_expired_unread", partition=str(partition), **lost)
                else:
                    self._take_over_again(partition, offset)
        except KafkaError as trouble:
            log.debug("log_not_found", error=repr(trouble))

    def _take_over_again(self, partition: TopicPartition, offset: int) -> None:
        """Take the partitions over again: the log is another one, or has lost its end.

        The takeover finds out which, and logs it: the log may have a new end by now.
        """
        if self._seeking is None or self._seeking.done():
            log.error("log_changed", partition=str(partition), offset=offset)
            seeking = self.consumer.perform_seek()
            self._seeking = asyncio.run_coroutine_threadsafe(seeking, self.parent_loop)

    async def _of_the_same_log(self, chunks: dict[Any, list[Chunk]]) -> dict[Any, list[Chunk]]:
        """`chunks` without those of a log that lost what was read: the takeover reads again."""
        return {tp: [chunk] for tp, (chunk,) in chunks.items() if await self._continues(chunk)}

    async def _continues(self, chunk: Chunk) -> bool:
        consumer = self._ensure_consumer()
        if await self._watch.continues(
            consumer, chunk, lambda: chunk.assignment_id == self._assignment_id
        ):
            return True
        self._take_over_again(chunk.partition, chunk.first)
        return False

    def _position(self, partition: TopicPartition) -> int | None:
        """The offset that is fetched next; None where the partition is not ours, or not sought."""
        subscription = self._ensure_consumer()._fetcher._subscriptions.subscription
        assignment = subscription.assignment if subscription is not None else None
        tp = AIOTopicPartition(*partition)
        if assignment is None or tp not in assignment.tps:
            return None
        state = assignment.state_value(tp)
        return int(state.position) if state.has_valid_position else None

    def _chunk(self, consumer: AIOKafkaConsumer, tp: Any, records: list[Any]) -> Chunk:
        state = consumer._fetcher._subscriptions.subscription.assignment.state_value(tp)
        # Records after an open transaction cannot be fetched yet.
        end = state.highwater or 0 if state.lso is None else state.lso
        remaining = max(0, end - state.position)
        partition = TopicPartition(tp.topic, tp.partition)
        index = self._indexes.get(partition, 0)
        self._indexes[partition] = index + 1
        return Chunk(partition, as_record_batches(records), self._assignment_id, index, remaining)

    async def _ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, LogEnd]:
        ends = await log_ends(self._ensure_consumer()._client, partitions)
        return {tp: LogEnd(end, self._position(tp)) for tp, end in ends.items()}

    async def _seek_as(
        self, assignment_id: int, positions: Mapping[TopicPartition, Lineage]
    ) -> None:
        consumer = self._ensure_consumer()
        self._assignment_id = assignment_id
        self._indexes.clear()
        self._watch.read = dict(positions)
        for partition, read in positions.items():
            consumer.seek(AIOTopicPartition(*partition), read.offset)

    async def _seek_one(self, partition: TopicPartition, read: Lineage) -> int:
        # Without an await: no chunk of an older fetch gets a later index.
        self._watch.read[partition] = read
        self._ensure_consumer().seek(AIOTopicPartition(*partition), read.offset)
        return self._indexes.get(partition, 0)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to topics that exist; wait for the others.

        aiokafka's request for a topic's metadata lets the broker create it with its own settings:
        too few partitions, or a retention that deletes events.
        """
        wanted = list(topics)
        for topic in wanted:
            await await_topic(topic, self._identity_unless_stopped, cast(Any, self.app).health)
        await super().subscribe(wanted)

    async def _identity_unless_stopped(self, topic: str) -> None:
        if not self.should_stop:
            await self.topic_identity(topic)

    # What the rebalance handler calls, from the worker's own thread (`rebalance_handler.Log`).

    async def membership(self) -> Membership:
        """Who this worker is to the group at this moment.

        Raises:
            FencedError: it is out of the group.
        """
        return await self._call(self._membership())

    async def positions(
        self, partitions: Set[TopicPartition]
    ) -> dict[TopicPartition, PartitionOffsets]:
        """What is committed for each, with its metadata, and where its log begins and ends."""
        return await self._call(self._positions(partitions))

    async def acknowledged(self, topic: str) -> dict[TopicPartition, int]:
        """The group's committed offset of each partition of `topic`, also of other workers'.

        Without those that have none: nothing was ever announced there, so nothing inserted.
        """
        return await self._call(self._acknowledged(topic))

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, LogEnd]:
        """Where the log of each partition ends, and how far it was fetched."""
        return await self._call(self._ends(partitions))

    async def topic_identity(self, topic: str) -> TopicIdentity:
        """The ids of the topic and its cluster."""
        return await self._call(topic_identity(self._ensure_consumer()._client, topic))

    async def seek_as(
        self, assignment_id: int, positions: Mapping[TopicPartition, Lineage]
    ) -> None:
        """Seek each partition after what was read; later chunks carry `assignment_id`. One step."""
        await self._call(self._seek_as(assignment_id, positions))

    async def seek_one(self, partition: TopicPartition, read: Lineage) -> int:
        """Seek one partition after what was read; the index of the first chunk from there."""
        return await self._call(self._seek_one(partition, read))

    async def commit_as(
        self, membership: Membership, positions: Mapping[TopicPartition, Position]
    ) -> None:
        """Commit `positions` if this worker still is `membership`.

        aiokafka's own commit would retry under the generation of that moment, and so
        commit for partitions of another worker.

        Raises:
            FencedError: the group has a new generation.
            aiokafka.errors.KafkaError: the coordinator refused, or did not answer.
        """
        await self._call(self._commit_as(membership, positions))

    async def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` in this thread. Faust's own queue has two workers and a fetch holds one."""
        try:
            running = asyncio.run_coroutine_threadsafe(work, self.thread_loop)
        except RuntimeError:  # the thread's loop is closed: the worker stops
            work.close()
            raise
        return await asyncio.wrap_future(running)
