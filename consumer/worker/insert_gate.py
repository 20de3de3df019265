"""A readers-writer lock: inserts share it, a rollup rebuild holds it exclusively.

A rebuild compares tables that one insert fills one after the other.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class InsertGate:
    """Many `shared` holders at once, or one `exclusive`, which has precedence."""

    def __init__(self) -> None:
        self.running = 0  # inserts
        self._changed = asyncio.Condition()
        self._closed = asyncio.Lock()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._closed:
            self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            if not self.running:
                async with self._changed:
                    self._changed.notify_all()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        async with self._closed:
            async with self._changed:
                await self._changed.wait_for(lambda: not self.running)
            yield
