"""Asks ClickHouse what is stored: each query runs in a thread and is retried until answered."""

import math
import time
from collections.abc import Sequence

from usagepipe.consumer.clickhouse.stored import NO_EPOCH, StoredEvent, StoredRows
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.rows.rows import Place
from usagepipe.consumer.runtime.runtime import Runtime


class StoredQueries:
    """`StoredRows` for the event loop."""

    def __init__(self, stored: StoredRows, runtime: Runtime) -> None:
        self._stored = stored
        self._ask = runtime.ask
        self._started = 0  # the server, in Unix seconds
        self._started_at = -math.inf  # when it was asked

    async def last_offset(self, partition: TopicPartition, topic_id: str, at_least: int) -> int:
        """The greatest stored offset from `at_least` on; `at_least` - 1 for none."""
        number = partition.partition
        found = await self._ask(
            str(partition), self._stored.last_offset, topic_id, number, at_least
        )
        return at_least - 1 if found is None else found

    async def places(
        self, batch: Batch, topic_id: str, without_epoch: int = NO_EPOCH
    ) -> frozenset[Place]:
        """The stored rows in the range of `batch`, without those of the epoch `without_epoch`."""
        return await self._ask(
            str(batch),
            self._stored.places,
            topic_id,
            batch.partition.partition,
            batch.first,
            batch.last,
            without_epoch,
        )

    async def events(self, ids: Sequence[str], days: int) -> list[StoredEvent]:
        """Where the events `ids` of the last `days` are stored."""
        return await self._ask(f"look-up of {len(ids)} ids", self._stored.events, ids, days)

    async def server_started(self, at_most_ago: float = 0.0) -> int:
        """When ClickHouse was started (Unix seconds); `at_most_ago` seconds old at most."""
        if time.monotonic() - self._started_at >= at_most_ago:
            self._started = await self._ask("start", self._stored.server_started)
            self._started_at = time.monotonic()
        return self._started
