"""Looks up the ids of several partition workers' batches in one query.

Batches that are prepared at the same time have events of the same time, so separate look-ups would
read the same part of the table several times. Look-ups that arrive while a query runs share the
next query. A look-up that is alone does not wait.
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
    """Combines look-ups. `ask` runs one query and retries until it is answered."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: list[Asked] = []
        self._asking: asyncio.Task[None] | None = None

    async def find(self, ids: Sequence[str]) -> list[StoredEvent]:
        """The stored rows of `ids`, and perhaps those of other look-ups."""
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
            except Exception as error:  # a defect, since `ask` retries
                for found in _still_wanted(gathered):
                    found.set_exception(error)
            else:
                for found in _still_wanted(gathered):
                    found.set_result(events)


def _still_wanted(gathered: Iterable[Asked]) -> list[asyncio.Future[list[StoredEvent]]]:
    """The futures whose partition worker was not cancelled."""
    return [asked.found for asked in gathered if not asked.found.done()]
