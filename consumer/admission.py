"""Whether this worker may hold partitions: not while ClickHouse does not let it in.

Its password was changed, its user dropped, a right taken, a certificate replaced: other workers may
be let in, so it leaves the group and they get its partitions. Nothing it had in hand is
acknowledged; what was announced, the next owner repeats. It comes back when it is let in again, and
not before a batch could be looked up and stored, so it cannot go back and forth.
"""

import asyncio
from collections.abc import Callable

import structlog

from usagepipe.consumer.causes import cause_of
from usagepipe.consumer.health import Health

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
        self.open = True

    async def look(self, leave: Callable[[], None]) -> None:
        """Close, and `leave` the group, when the worker is locked out for long; or open again."""
        if self.open and self._health.locked_out_seconds < self._most_seconds:
            return
        try:
            await asyncio.wait_for(asyncio.to_thread(self._try_out), TRY_SECONDS)
        except Exception as error:
            cause = cause_of(error)
            if not self.open or cause.locked_out:
                self._health.failed(SERVER, error, PLACE)
            if self.open and cause.locked_out:
                self.open = False
                log.error("partitions_given_up", error=cause.error, why=cause.why)
                leave()
            return
        self._health.succeeded(SERVER, PLACE)
        if not self.open:
            self.open = True
            log.info("let_in_again")
