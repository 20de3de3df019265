"""What the group has committed, and what is no answer to that."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3

from usagepipe.consumer.kafka.group_session import committed_positions
from usagepipe.consumer.kafka.thread import ChunkThread
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import Position

pytestmark = pytest.mark.anyio
ASKED = [TopicPartition("t", 0), TopicPartition("t", 1)]
LOADING, NOT_AVAILABLE, NOT_COORDINATOR, NOT_AUTHORIZED = 14, 15, 16, 30


class Coordinator:
    """The part of aiokafka that is used; Kafka's bytes go through its own parser."""

    group_id = "g"

    def __init__(self, answer: Any) -> None:
        self.answer = type(answer).decode(answer.encode())
        self.dead = False

    async def ensure_coordinator_known(self) -> None:
        pass

    async def _send_req(self, request: Any) -> Any:
        return self.answer

    def coordinator_dead(self) -> None:
        self.dead = True


async def test_committed_offsets_come_with_their_metadata() -> None:
    """A partition without a commit (-1) is left out; null metadata is none."""
    answer = OffsetFetchResponse_v3(0, [("t", [(0, 42, None, 0), (1, -1, "", 0)])], 0)

    found = await committed_positions(Coordinator(answer), ASKED)

    assert {ASKED[0]: Position(42, "")} == found


@pytest.mark.parametrize("code", [LOADING, NOT_AVAILABLE, NOT_COORDINATOR, NOT_AUTHORIZED])
async def test_an_error_of_the_whole_group_is_not_no_commit(code: int) -> None:
    """Kafka sends it with an empty list: read as "never committed", a takeover would begin every
    partition at its log's start.
    """
    coordinator = Coordinator(OffsetFetchResponse_v3(0, [], code))

    with pytest.raises(for_code(code)):
        await committed_positions(coordinator, ASKED)

    assert (code in {NOT_AVAILABLE, NOT_COORDINATOR}) == coordinator.dead


async def test_an_error_of_a_partition_is_not_no_commit() -> None:
    """Version 1 sends the same errors with each partition."""
    answer = OffsetFetchResponse_v1([("t", [(0, 7, "", 0), (1, -1, "", LOADING)])])

    with pytest.raises(for_code(LOADING)):
        await committed_positions(Coordinator(answer), ASKED)


async def test_a_partition_missing_from_the_answer_is_not_without_commit() -> None:
    """Half an answer is none."""
    answer = OffsetFetchResponse_v3(0, [("t", [(0, 7, "", 0)])], 0)

    with pytest.raises(KafkaError, match=r"answer lacks t\[1\]"):
        await committed_positions(Coordinator(answer), ASKED)


async def test_metadata_that_is_being_fetched_is_not_a_topic_without_partitions() -> None:
    """What is unsettled is asked of all partitions; none would let a correction double a rollup."""
    consumer = SimpleNamespace(partitions_for_topic=lambda topic: None)
    thread: Any = SimpleNamespace(_ensure_consumer=lambda: consumer)

    with pytest.raises(KafkaError):
        await ChunkThread._acknowledged(thread, "t")
