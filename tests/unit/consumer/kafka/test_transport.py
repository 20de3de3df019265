"""What the worker overrides of Faust and aiokafka still exists, and does what it must."""

import asyncio
import importlib
import inspect
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition as TP
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from tests.support.fake_records import FakeRecord, record_batch
from usagepipe.consumer.kafka.fetching import KeptRecords, as_record_batches, take_record_batches
from usagepipe.consumer.kafka.log_watch import LogWatch
from usagepipe.consumer.kafka.thread import ChunkThread
from usagepipe.consumer.protocol.positions import FencedError, Membership

HELD = TP("t", 0)
# Members that `consumer/kafka` overrides or uses although they are private.
OVERRIDDEN = {
    "faust.transport.drivers.aiokafka.Consumer": (
        "_new_consumer_thread",
        "_to_message",
        "_wait_next_records",
        "on_buffer_full",
        "on_buffer_drop",
        "_add_gap",
        "_commit",
        "force_commit",
        "perform_seek",
        "on_partitions_assigned",
        "on_partitions_revoked",
        "_read_offset",
    ),
    "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread": (
        "_fetch_records",
        "_create_worker_consumer",
        "_ensure_consumer",
        "on_start",
        "on_thread_stop",
        "subscribe",
    ),
    "faust.app.base.BootStrategy": ("enable_kafka_producer", "kafka_producer"),
    "aiokafka.consumer.consumer.AIOKafkaConsumer": ("_coordinator", "_client", "_fetcher"),
    "aiokafka.consumer.fetcher.Fetcher": (
        "_closed",
        "_create_fetch_waiter",
        "_fetch_waiters",
        "_records",
        "_subscriptions",
    ),
    "aiokafka.consumer.subscription_state.TopicPartitionState": (
        "has_valid_position",
        "highwater",
        "lso",
        "position",
    ),
    "aiokafka.consumer.fetcher.FetchResult": ("_partition_records",),
    "aiokafka.consumer.fetcher.PartitionRecords": (
        "_aborted_transactions",
        "_records",
        "_records_iterator",
        "_tp",
        "next_fetch_offset",
    ),
    "aiokafka.consumer.group_coordinator.GroupCoordinator": (
        "_commit_lock",
        "_do_commit_offsets",
        "_do_rejoin_group",
        "_maybe_leave_group",
        "_send_req",
        "coordinator_dead",
        "ensure_coordinator_known",
        "generation",
        "group_id",
        "member_id",
        "request_rejoin",
    ),
}
MEMBERS = [(owner, member) for owner, members in OVERRIDDEN.items() for member in members]


@pytest.mark.parametrize(("owner", "member"), MEMBERS)
def test_what_is_overridden_or_reached_into_exists(owner: str, member: str) -> None:
    """A new version that renames a member fails here, not in production."""
    module, _, name = owner.rpartition(".")
    holder = getattr(importlib.import_module(module), name)
    sources = [inspect.getsource(base) for base in holder.__mro__ if base is not object]

    assert hasattr(holder, member) or any(f"self.{member}" in source for source in sources)


def test_the_fetch_wait_is_a_member_that_start_hands_on() -> None:
    """The driver hard-codes 1,500 ms; ours is set between the consumer's making and its start."""
    assert "self._fetch_max_wait_ms" in inspect.getsource(AIOKafkaConsumer.start)
    assert "self._isolation_level" in inspect.getsource(AIOKafkaConsumer.start)


def test_a_commit_request_is_built_before_the_first_await() -> None:
    """The fence compares generations right before: an await in between would open it."""
    source = inspect.getsource(GroupCoordinator._do_commit_offsets)
    before_await, _, _ = source.partition("await ")

    assert "OffsetCommitRequest(" in before_await
    assert "self.generation" in before_await


def test_records_are_stamped_in_the_step_that_takes_them() -> None:
    """`_fetch_records` ends with the fetcher's answer: no await follows it."""
    source = inspect.getsource(AIOKafkaConsumerThread._fetch_records)
    _, _, after = source.partition("return await fetcher.fetched_records(")

    assert after
    assert "await " not in after


def test_an_answer_without_a_wait_is_one_step() -> None:
    """`fetched_records` awaits nothing between taking records and returning them."""
    source = inspect.getsource(Fetcher.fetched_records)
    _, _, after = source.partition("start_time = time.monotonic()")
    taking, _, _ = after.partition("waiter = self._create_fetch_waiter()")

    assert "return drained" in taking
    assert "await " not in taking


def test_the_fetcher_makes_its_records_by_the_name_that_is_replaced() -> None:
    """Without the bytes of a fetch, records come one by one: slower, but they come."""
    assert "MemoryRecords(part_data[-1])" in inspect.getsource(Fetcher._proc_fetch_request)


def fetched(assignment: Assignment) -> FetchResult:
    """What aiokafka's fetcher holds of a partition: three records, in the batch they came in."""
    kept = KeptRecords(record_batch(0, b"a", b"b", b"c"))
    found = PartitionRecords(HELD, kept, None, 0, None, None, True, 0)
    assignment.state_value(HELD).seek(0)
    return FetchResult(HELD, assignment=assignment, partition_records=found, backoff=0)


@pytest.mark.anyio
async def test_the_fetcher_hands_out_whole_packs() -> None:
    """It moves its position after each, as for records."""
    assignment = Assignment([HELD])
    result = fetched(assignment)

    take_record_batches(cast(Fetcher, SimpleNamespace(_records={HELD: result})), {})
    (record_batch,) = as_record_batches(result.getall())

    assert (0, 2, 3) == (record_batch.first, record_batch.last, record_batch.count)
    assert 3 == assignment.state_value(HELD).position


def thread_with(fetcher: Fetcher) -> ChunkThread:
    """A thread that is none, whose consumer has this fetcher."""
    thread = ChunkThread.__new__(ChunkThread)
    thread.consumer = cast(Any, SimpleNamespace(flow_active=True))
    thread._consumer = SimpleNamespace(_fetcher=fetcher, _closed=False)
    thread._assignment_id, thread._indexes, thread._watch = 1, {}, LogWatch()
    return thread


@pytest.mark.anyio
async def test_what_a_paused_partition_has_is_had_as_soon_as_it_goes_on() -> None:
    """aiokafka wakes nobody for it: it would lie there until the wait, a minute here, is over."""
    assignment = Assignment([HELD])
    subscriptions = SimpleNamespace(
        fetch_context=nullcontext,
        reassignment_in_progress=False,
        is_assigned=lambda _: True,
        subscription=SimpleNamespace(assignment=assignment),
    )
    fetcher = Fetcher.__new__(Fetcher)
    fetcher._loop, fetcher._closed = asyncio.get_running_loop(), False
    fetcher._records, fetcher._fetch_waiters = {HELD: fetched(assignment)}, set()
    fetcher._subscriptions, fetcher._wait_consume_future = subscriptions, None
    thread, active = thread_with(fetcher), {TP("t", 1)}
    waiting = asyncio.create_task(
        thread._fetch_records(thread._consumer, active, timeout=60.0, max_records=None)
    )
    while not fetcher._fetch_waiters:
        await asyncio.sleep(0)

    active.add(HELD)
    thread._wake()
    chunks = await asyncio.wait_for(waiting, 5)

    assert [3] == [
        record_batch.count for chunk in chunks[HELD] for record_batch in chunk.record_batches
    ]
    assert set() == fetcher._fetch_waiters


def test_records_that_cannot_be_packed_are_one_pack() -> None:
    """A message format of long ago."""
    (record_batch,) = as_record_batches([FakeRecord(4), FakeRecord(5)])

    assert (4, 5, 2) == (record_batch.first, record_batch.last, record_batch.count)


def test_faust_takes_the_read_offsets_from_the_member_that_is_replaced() -> None:
    """Records below a read offset are dropped without a word; ours has none."""
    source = inspect.getsource(faust_consumer.Consumer._drain_messages)

    assert "get_read_offset = self._read_offset.__getitem__" in source
    assert "set_read_offset = self._read_offset.__setitem__" in source


@pytest.mark.anyio
async def test_nobody_takes_over_while_out_of_the_group() -> None:
    """Kafka takes the commits of generation -1 in an empty group: no fence would hold them."""
    thread = SimpleNamespace(_current_membership=lambda: Membership(-1, ""))

    with pytest.raises(FencedError, match="not in the group"):
        await ChunkThread._membership(cast(ChunkThread, thread))


def test_faust_seeks_after_each_assignment() -> None:
    """The takeover hangs on `perform_seek`, called by the recovery of each rebalance."""
    assert "consumer.perform_seek()" in inspect.getsource(Recovery._resume_streams)


class Outside:
    """A consumer whose position is outside of the log, while it asks where the log is."""

    def __init__(self, start: int, sought: int | None = None) -> None:
        self.start, self.sought = start, sought
        self.position = 100
        self.seeks: list[tuple[TP, int]] = []
        assignment = SimpleNamespace(tps={HELD}, state_value=lambda _: self)
        subscription = SimpleNamespace(assignment=assignment)
        self._fetcher = SimpleNamespace(_subscriptions=SimpleNamespace(subscription=subscription))

    has_valid_position = True

    async def beginning_offsets(self, tps: list[TP]) -> dict[TP, int]:
        if self.sought is not None:
            self.position = self.sought  # a takeover was faster
        return dict.fromkeys(tps, self.start)

    async def end_offsets(self, tps: list[TP]) -> dict[TP, int]:
        return dict.fromkeys(tps, 1_000)

    def seek(self, tp: TP, offset: int) -> None:
        self.seeks.append((tp, offset))


async def _find_log(consumer: Outside, errors: int = 1) -> int:
    """How many takeovers were asked for."""
    takeovers = 0
    done = asyncio.Event()

    async def perform_seek() -> None:
        nonlocal takeovers
        takeovers += 1
        await done.wait()

    thread = ChunkThread.__new__(ChunkThread)
    thread._seeking = None
    thread.parent_loop = asyncio.get_running_loop()
    cast(Any, thread)._consumer = consumer
    cast(Any, thread).consumer = SimpleNamespace(perform_seek=perform_seek)
    cast(Any, thread)._ensure_consumer = lambda: consumer
    for _ in range(errors):
        await thread._find_log(OffsetOutOfRangeError({HELD: 100}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    done.set()
    return takeovers


@pytest.mark.anyio
async def test_a_log_that_begins_later_is_read_from_there() -> None:
    """Retention was faster than the worker.

    No takeover, since the partition workers have work in hand.
    """
    consumer = Outside(start=500)

    takeovers = await _find_log(consumer)

    assert ([(HELD, 500)], 0) == (consumer.seeks, takeovers)


@pytest.mark.anyio
async def test_a_partition_that_was_sought_meanwhile_is_left_alone() -> None:
    """The answer is out of date: to seek by it would read again what another worker has stored."""
    consumer = Outside(start=500, sought=700)

    takeovers = await _find_log(consumer)

    assert ([], 0) == (consumer.seeks, takeovers)


@pytest.mark.anyio
async def test_a_log_that_lost_its_end_is_taken_over_once() -> None:
    """The error comes back ten times a second for as long as the takeover fails."""
    consumer = Outside(start=0)

    takeovers = await _find_log(consumer, errors=5)

    assert ([], 1) == (consumer.seeks, takeovers)
