"""A worker with one guarantee taken away, to show that the chaos test would notice.

Run as a program: the first argument names what is missing, the rest is `usagepipe worker`'s.
"""

import asyncio
import itertools
import os
import sys
from typing import Any

from usagepipe.cli.root import run
from usagepipe.consumer.announcement import Announcement
from usagepipe.consumer.committer import Committer
from usagepipe.consumer.thread import ChunkThread

_numbers = itertools.count()


def without_token() -> None:
    """Each try is a block of its own."""

    def token(self: Announcement, cluster: str, partition: int) -> str:
        return f"{os.getpid()}-{next(_numbers)}"

    Announcement.token = token  # type: ignore[method-assign]


def without_announcement() -> None:
    """What is about to be inserted is told to nobody."""

    async def announce(self: Committer, partition: Any, pending: Announcement) -> None:
        await asyncio.sleep(0)

    Committer.announce = announce  # type: ignore[method-assign]


def without_fence() -> None:
    """Commits go out under whatever generation the process has by then."""

    async def commit_as(self: Any, membership: Any, positions: Any) -> None:
        current = await self._membership()
        await original(self, current, positions)

    original = ChunkThread._commit_as
    ChunkThread._commit_as = commit_as  # type: ignore[method-assign]


CRIPPLED = {
    "nothing": lambda: None,
    "token": without_token,
    "announcement": without_announcement,
    "fence": without_fence,
}

if __name__ == "__main__":
    CRIPPLED[sys.argv[1]]()
    sys.exit(run(["worker", *sys.argv[2:]]))
