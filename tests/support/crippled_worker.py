"""A worker that ends or stops at given points, and may have one guarantee taken away, to show that
the chaos test would notice.

Run as a program: the first argument names what is missing, the rest is `usagepipe worker`'s.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.support import chaos_points
from usagepipe.cli.root import run
from usagepipe.consumer import app
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.kafka.thread import ChunkThread
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.rows.pricing import Pricing
from usagepipe.consumer.worker.committer import Committer
from usagepipe.consumer.worker.price_books import PriceBooks
from usagepipe.schemas.settings import WorkerSettings

SESSION_VARIABLE: Final = "CHAOS_SESSION_SECONDS"
_numbers = itertools.count()


def without_token() -> None:
    """Each attempt is a different block."""

    def insert(self: Writer, body: bytes | bytearray, token: str) -> None:
        original(self, body, f"{token}-{os.getpid()}-{next(_numbers)}")

    original = Writer.insert
    Writer.insert = insert  # type: ignore[method-assign]


def without_announcement() -> None:
    """No announcement is committed before an insert."""

    async def announce(self: Committer, partition: Any, pending: Announcement) -> None:
        await asyncio.sleep(0)

    Committer.announce = announce  # type: ignore[method-assign]


def without_fence() -> None:
    """Commits use the generation that the process has by then, or none, as aiokafka does."""

    async def commit_as(self: Any, membership: Any, positions: Any) -> None:
        coordinator = self._ensure_consumer()._coordinator
        await coordinator.ensure_coordinator_known()
        offsets = {
            TopicPartition(*tp): OffsetAndMetadata(position.offset, position.metadata)
            for tp, position in positions.items()
        }
        async with coordinator._commit_lock:
            await coordinator._do_commit_offsets(None, offsets)

    ChunkThread._commit_as = commit_as  # type: ignore[method-assign]


def without_pin() -> None:
    """A recovery prices with the active book, whichever was announced."""

    async def announced(self: PriceBooks, name: str) -> Pricing:
        return await self.active()

    PriceBooks.announced = announced  # type: ignore[method-assign]


def with_session(seconds: float) -> None:
    """A session shorter than a setting may be: each death costs the group one."""

    def create(settings: WorkerSettings) -> app.WorkerApp:
        return original(settings.model_copy(update={"session_seconds": seconds}))

    original = app.create_app
    app.create_app = create


CRIPPLED: Final[Mapping[str, Callable[[], None]]] = {
    "nothing": lambda: None,
    "token": without_token,
    "announcement": without_announcement,
    "fence": without_fence,
    "pin": without_pin,
    "window": lambda: None,  # taken from the table by the test
}

if __name__ == "__main__":
    CRIPPLED[sys.argv[1]]()
    chaos_points.of_environment().put()
    with_session(float(os.environ[SESSION_VARIABLE]))
    sys.exit(run(["worker", *sys.argv[2:]]))
