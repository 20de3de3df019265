"""Fenced commits, as the consumer's thread sends them."""

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.errors import UnknownMemberIdError

from usagepipe.consumer.kafka.group_session import GroupSession
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.positions import FencedError, Membership, Position

pytestmark = pytest.mark.anyio
POSITIONS = {TopicPartition("t", 0): Position(42, "")}
MEMBERSHIP = Membership(7, "member")


class Coordinator:
    """aiokafka's, where a commit ends with an error when the test lets it."""

    generation, member_id = MEMBERSHIP.generation, MEMBERSHIP.member_id

    def __init__(self) -> None:
        self._commit_lock = asyncio.Lock()
        self.sent, self.may_end = asyncio.Event(), asyncio.Event()

    async def ensure_coordinator_known(self) -> None:
        pass

    async def _do_commit_offsets(self, assignment: None, offsets: Any) -> None:
        self.sent.set()
        await self.may_end.wait()
        raise UnknownMemberIdError("group")


class Session(GroupSession):
    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def _ensure_consumer(self) -> Any:
        return self


async def test_a_refused_commit_of_a_cancelled_caller_logs_no_error() -> None:
    """The next assignment decides what becomes of the range; there is nothing to report."""
    coordinator = Coordinator()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    commit = asyncio.ensure_future(Session(coordinator)._commit_as(MEMBERSHIP, POSITIONS))
    await coordinator.sent.wait()

    commit.cancel()
    with suppress(asyncio.CancelledError):
        await commit
    coordinator.may_end.set()
    await asyncio.sleep(0.01)  # the request ends with its error, and nothing holds it
    gc.collect()

    assert [] == reported


async def test_a_refused_commit_raises_for_its_caller() -> None:
    """The committer decides: an error of the group is tried again, a fence is final."""
    coordinator = Coordinator()
    coordinator.may_end.set()

    with pytest.raises(UnknownMemberIdError):
        await Session(coordinator)._commit_as(MEMBERSHIP, POSITIONS)


async def test_a_member_of_an_older_generation_sends_nothing() -> None:
    """aiokafka would commit under the current generation."""
    coordinator = Coordinator()

    with pytest.raises(FencedError):
        await Session(coordinator)._commit_as(Membership(6, "member"), POSITIONS)

    assert not coordinator.sent.is_set()
