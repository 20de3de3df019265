"""Looks up the ids of several partition workers' batches in one query.

Batches that are prepared at the same time hold events of the same time, so their look-ups would
read the same part of the table, each for itself. What comes in while a query runs goes together
into the next one: nothing waits for company when there is none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from usagepipe.consumer.clickhouse.stored import StoredEvent

Ask = Callable[[Sequence[str]], Awaitable[list[StoredEvent]]]


class Asked(NamedTuple):
    """A look-up that waits."""

    ids: Sequence[str]
    found: asyncio.Future[list[StoredEvent]]


class Lookups:
    """Gathers look-ups. `ask` answers one, and tries until it can."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: list[Asked] = []
        self._asking: asyncio.Task[None] | None = None

    async def find(self, ids: Sequence[str]) -> list[StoredEvent]:
        """The stored rows that have one of `ids`; perhaps others, which came in beside it."""
        if not ids:
            return []
        found: asyncio.Future[list[StoredEvent]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Asked(ids, found))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run(), name="lookups")
        return await found

    async def _run(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            gathered = [asked for asked in waiting if not asked.found.done()]
            try:
                events = await self._ask([each for asked in gathered for each in asked.ids])
            except Exception as error:  # a defect: `ask` tries until it can
                for found in _still_wanted(gathered):
                    found.set_exception(error)
            else:
                for found in _still_wanted(gathered):
                    found.set_result(events)


def _still_wanted(gathered: Iterable[Asked]) -> list[asyncio.Future[list[StoredEvent]]]:
    """Those whose partition worker was not cancelled."""
    return [asked.found for asked in gathered if not asked.found.done()]
