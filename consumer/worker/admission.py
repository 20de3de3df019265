"""Whether this worker may hold partitions: not while ClickHouse does not let it in.

A worker that starts joins the group when ClickHouse has passed the preflight and would accept a
batch. Otherwise a worker that its supervisor restarts with a wrong password would take partitions
from healthy workers at each start.

Later, ClickHouse may refuse this worker and accept others: a changed password, a dropped user, a
revoked right, a replaced certificate. The worker then leaves the group, and others get its
partitions. It acknowledges none of its unfinished batches; the next owner repeats the announced
ones. The worker joins again when a batch could be looked up and stored, so it does not leave and
join in a loop.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from usagepipe.consumer.runtime.causes import cause_of
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.retry import until_answered

log = structlog.get_logger()

SERVER = "clickhouse"
PLACE = "admission"
TRY_SECONDS = 10.0


class Admission:
    """`open` while the worker may be in the group. Read by the consumer's thread."""

    def __init__(self, health: Health, most_seconds: float, try_out: Callable[[], None]) -> None:
        """`try_out` raises what the next batch would; it blocks."""
        self._health = health
        self._most_seconds = most_seconds
        self._try_out = try_out
        self._begun = False
        self._let(False)

    async def begin(self, passed: Callable[[], Awaitable[object]]) -> None:
        """Open for the first time: when `passed` returns and ClickHouse would accept a batch.

        Waits for it without limit, and names the cause in the health meanwhile.
        """
        await passed()
        await until_answered(self._try, self._failed_to_begin)
        self._health.succeeded(SERVER, PLACE)
        self._begun = True
        self._let(True)

    def _failed_to_begin(self, tries: int, error: Exception) -> None:
        self._health.failed(SERVER, error, PLACE)
        if tries == 1:
            cause = cause_of(error)
            log.warning("waiting_for_clickhouse", error=cause.error, why=cause.why)

    async def look(self, leave: Callable[[], None]) -> None:
        """Close, and `leave` the group, when the worker is locked out for long; or open again."""
        if not self._begun:
            return
        if self.open and self._health.locked_out_seconds < self._most_seconds:
            return
        try:
            await self._try()
        except Exception as error:
            cause = cause_of(error)
            if not self.open or cause.locked_out:
                self._health.failed(SERVER, error, PLACE)
            if self.open and cause.locked_out:
                self._let(False)
                log.error("partitions_given_up", error=cause.error, why=cause.why)
                leave()
            return
        self._health.succeeded(SERVER, PLACE)
        if not self.open:
            self._let(True)
            log.info("let_in_again")

    def _let(self, is_open: bool) -> None:
        self.open = self._health.admitted = is_open

    async def _try(self) -> None:
        """Raise what the next batch would."""
        await asyncio.wait_for(asyncio.to_thread(self._try_out), TRY_SECONDS)
