"""Lets inserts run side by side, and a correction alone: it compares tables that an insert
fills one after the other.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Quiet:
    """Many `insert`s at once, or one `alone`. Inserts wait while somebody waits to be alone."""

    def __init__(self) -> None:
        self.running = 0  # inserts
        self._changed = asyncio.Condition()
        self._alone = asyncio.Lock()

    @asynccontextmanager
    async def insert(self) -> AsyncIterator[None]:
        async with self._alone:
            self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            if not self.running:
                async with self._changed:
                    self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._alone:
            async with self._changed:
                await self._changed.wait_for(lambda: not self.running)
            yield
