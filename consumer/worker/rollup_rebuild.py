"""Rebuilds the rollups that a range touches, where they may lack some of its rows.

A range that is written in parts, or whose server was restarted meanwhile, can be in raw and not
in a rollup. A rebuild compares rollups with raw, bucket by bucket, and adds the difference.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.block import FIRST_EPOCH, Block
from usagepipe.consumer.rollups.comparison_sql import QUARTERS, UnsettledOffsets
from usagepipe.consumer.rollups.rebuild import rebuild_rollups
from usagepipe.consumer.rollups.tables import RollupTables, Unsettled
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.consumer.runtime.runtime import Runtime, in_thread
from usagepipe.consumer.worker.insert_gate import InsertGate
from usagepipe.schemas.errors import RollupsBusyError

# The committed offset of each partition of a topic, of all workers.
Acknowledged = Callable[[str], Coroutine[Any, Any, Mapping[TopicPartition, int]]]

log = structlog.get_logger()

QUIET_SECONDS: Final = 5.0  # how long one attempt waits for others' inserts; ours wait meanwhile
# Buckets no further apart are compared as one stretch: a comparison costs as much as the rows of
# hours, and a batch of late events can touch every bucket of a day. But a stretch is compared at
# once, while inserts wait.
NEAR: Final = timedelta(hours=2)
LONGEST: Final = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class RangeRebuilder:
    """Rebuilds rollups, one range at a time, while no insert of this worker runs."""

    rollups: RollupTables
    runtime: Runtime
    gate: InsertGate
    acknowledged: Acknowledged

    async def rebuild_rollups(self, block: Block) -> None:
        """Have every rollup hold what raw holds, in all buckets of the block's whole batch.

        Buckets in between may be rebuilt too.
        """
        loop = asyncio.get_running_loop()

        def unsettled() -> list[UnsettledOffsets]:  # called in a thread
            asking = self.acknowledged(block.batch.partition.topic)
            answer = asyncio.run_coroutine_threadsafe(asking, loop)
            return unsettled_beside(block, answer.result(QUIET_SECONDS))

        for first, end in spans(await self._moments(block)):
            attempt = partial(self._rebuild, first, end, unsettled)
            rebuilt, _ = await self.runtime.retry("clickhouse", str(block.batch), attempt)
            self.runtime.metrics.rebuilt_rows.inc(rebuilt)
        log.warning("rollups_rebuilt", batch=str(block.batch), written=block.rows.count)

    async def _rebuild(self, first: datetime, end: datetime, unsettled: Unsettled) -> int:
        rebuild = partial(rebuild_rollups, self.rollups, first, end, QUIET_SECONDS, unsettled)
        async with self.gate.exclusive():  # our own inserts wait; others' are waited for
            return await in_thread(self.runtime.threads.ask, rebuild)

    async def _moments(self, block: Block) -> list[datetime]:
        """When the events of the batch occurred, also of those that were left out."""
        batch, topic_id = block.batch, block.topic.topic_id
        prepare = self.runtime.threads.prepare
        rows = await in_thread(
            prepare, encode_rows, batch.records(), batch.partition, topic_id, FIRST_EPOCH
        )
        return await in_thread(prepare, rows.moments)


def unsettled_beside(
    block: Block, acknowledged: Mapping[TopicPartition, int]
) -> list[UnsettledOffsets]:
    """What the owners of other partitions may be about to insert again.

    Raises:
        RollupsBusyError: the range is another worker's by now, which rebuilds its rollups.
    """
    own = block.batch.partition
    # As long as it is ours, the last commit is its announcement. A partition worker that is cut
    # short leaves a thread that still rebuilds.
    if acknowledged.get(own) != block.pending.first:
        raise RollupsBusyError(f"{block.batch} is another worker's, which rebuilds its rollups.")
    return [
        UnsettledOffsets(block.topic.topic_id, partition.partition, first)
        for partition, first in acknowledged.items()
        if partition != own
    ]


def spans(moments: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """Stretches of whole buckets around all `moments`, few rather than tight."""
    found: list[tuple[datetime, datetime]] = []
    for bucket in sorted({QUARTERS.bucket_of(moment) for moment in moments}):
        end = bucket + QUARTERS.width
        if found and bucket - found[-1][1] <= NEAR and end - found[-1][0] <= LONGEST:
            found[-1] = (found[-1][0], end)
        else:
            found.append((bucket, end))
    return found
