"""Look-ups that come together are one query; one that comes alone does not wait."""

import asyncio
from collections.abc import Sequence

import pytest

from usagepipe.consumer.clickhouse.lookups import Lookups
from usagepipe.consumer.clickhouse.stored import StoredEvent

pytestmark = pytest.mark.anyio


class Table:
    """Has a row for each id that begins with "s"."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def ask(self, ids: Sequence[str]) -> list[StoredEvent]:
        self.asked.append(list(ids))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return [StoredEvent(each, "topic-id", 0, 1) for each in ids if each.startswith("s")]


async def test_what_comes_in_while_one_runs_goes_together() -> None:
    """Concurrent look-ups share a query; those that come while it runs share the next."""
    table = Table()
    lookups = Lookups(table.ask)
    asking = [asyncio.create_task(lookups.find([each])) for each in ("s1", "s2", "n3")]
    await asyncio.sleep(0.01)
    late = [asyncio.create_task(lookups.find([each])) for each in ("s4", "n5")]
    await asyncio.sleep(0.01)

    table.gate.set()
    found = [{copy.event_id for copy in await each} for each in (*asking, *late)]

    assert [["s1", "s2", "n3"], ["s4", "n5"]] == table.asked
    assert [{"s1", "s2"}] * 3 + [{"s4"}] * 2 == found


async def test_a_partition_worker_that_gives_up_takes_nobody_with_it() -> None:
    """A rebalance cancels the one; the other gets its answer."""
    table = Table()
    lookups = Lookups(table.ask)
    first, second = (asyncio.create_task(lookups.find([each])) for each in ("s1", "s2"))
    await asyncio.sleep(0.01)

    first.cancel()
    table.gate.set()

    assert ["s1", "s2"] == [copy.event_id for copy in await second]


async def test_a_failure_reaches_everybody_and_the_next_is_asked_again() -> None:
    """Nobody waits for ever for an answer that will not come."""
    table = Table()
    table.failure = RuntimeError("a defect")
    table.gate.set()
    lookups = Lookups(table.ask)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="a defect"):
            await lookups.find(["s1"])

    assert 2 == len(table.asked)
