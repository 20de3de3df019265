"""What the worker overrides of Faust and aiokafka still exists, and does what it must."""

import importlib
import inspect
from types import SimpleNamespace
from typing import cast

import pytest
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from usagepipe.consumer.committer import FencedError
from usagepipe.consumer.tenure import Membership
from usagepipe.consumer.thread import ChunkThread
from usagepipe.consumer.transport import OVERRIDDEN

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


def test_a_parsed_record_has_what_the_worker_reads_of_it() -> None:
    """It is handed on as it is, not copied into a consumer's record."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 16)
    builder.append(0, timestamp=1_700_000_000_123, key=b"key", value=b"value", headers=[])

    (record,) = DefaultRecordBatch(bytes(builder.build()))

    assert "yield consumer_record" in inspect.getsource(PartitionRecords._unpack_records)
    assert (0, 1_700_000_000_123) == (record.offset, record.timestamp)
    assert (b"key", b"value") == (record.key, record.value)


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
