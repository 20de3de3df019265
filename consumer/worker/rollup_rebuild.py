"""Rebuilds the rollups that a range touches, where they may lack some of its rows.

A range that is written in parts, or whose server was restarted meanwhile, can be in raw and not
in a rollup. A rebuild compares rollups with raw, bucket by bucket, and adds the difference.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import structlog

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.protocol.block import Block
from usagepipe.consumer.rollups.comparison_sql import QUARTERS, UnsettledOffsets
from usagepipe.consumer.rollups.rebuild import RollupRebuilder
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import Retrier
from usagepipe.consumer.runtime.threads import Threads, in_thread
from usagepipe.consumer.worker.insert_gate import InsertGate
from usagepipe.schemas.errors import RollupsBusyError

Result = TypeVar("Result")

# The committed offset of each partition of a topic, of all workers.
Acknowledged = Callable[[str], Awaitable[Mapping[TopicPartition, int]]]

log = structlog.get_logger()

QUIET_SECONDS: Final = 5.0  # how long one attempt waits for others' inserts; ours wait meanwhile
# Buckets no further apart are compared as one stretch: a comparison costs as much as the rows of
# hours, and a batch of late events can touch every bucket of a day. But a stretch is compared at
# once, while inserts wait.
NEAR: Final = timedelta(hours=2)
LONGEST: Final = timedelta(hours=6)


class RangeRebuilder:
    """Rebuilds rollups, one range at a time, while no insert of this worker runs."""

    def __init__(
        self,
        rollups: RollupRebuilder,
        threads: Threads,
        retry: Retrier,
        gate: InsertGate,
        acknowledged: Acknowledged,
        metrics: WorkerMetrics,
    ) -> None:
        self._rollups = rollups
        self._threads = threads
        self._retry = retry
        self._gate = gate
        self._acknowledged = acknowledged
        self._metrics = metrics

    async def rebuild_rollups(self, block: Block) -> None:
        """Have every rollup hold what raw holds, in all buckets of the block's whole batch.

        Buckets in between may be rebuilt too.
        """
        for first, end in spans(await self._moments(block)):
            rebuild = partial(
                self._rollups.rebuild,
                first,
                end,
                QUIET_SECONDS,
                unsettled=partial(self._unsettled, block, asyncio.get_running_loop()),
            )

            async def attempt(rebuild: Callable[[], int] = rebuild) -> int:
                async with self._gate.exclusive():  # our own inserts wait; others' are waited for
                    return await in_thread(self._threads.ask, rebuild)

            rebuilt, _ = await self._retry("clickhouse", str(block.batch), attempt)
            self._metrics.rebuilt_rows.inc(rebuilt)
        log.warning("rollups_rebuilt", batch=str(block.batch), written=block.rows.count)

    async def _moments(self, block: Block) -> list[datetime]:
        """When the events of the batch occurred, also of those that were left out."""
        batch, topic_id = block.batch, block.topic.topic_id
        rows = await in_thread(
            self._threads.prepare, encode_rows, batch.records(), batch.partition, topic_id, 0
        )
        return await in_thread(self._threads.prepare, rows.moments)

    def _unsettled(self, block: Block, loop: asyncio.AbstractEventLoop) -> list[UnsettledOffsets]:
        """What other partitions' owners may be about to insert again. Called in a thread.

        Raises:
            RollupsBusyError: the range is another worker's by now, which rebuilds its rollups.
        """
        own = block.batch.partition
        asking = asyncio.run_coroutine_threadsafe(_answer(self._acknowledged(own.topic)), loop)
        acknowledged = asking.result(QUIET_SECONDS)
        # As long as it is ours, the last commit is its announcement. A partition worker that is cut
        # short leaves this thread behind.
        if acknowledged.get(own) != block.pending.first:
            raise RollupsBusyError(
                f"{block.batch} is another worker's, which rebuilds its rollups."
            )
        return [
            UnsettledOffsets(block.topic.topic_id, partition.partition, first)
            for partition, first in acknowledged.items()
            if partition != own
        ]


async def _answer(asking: Awaitable[Result]) -> Result:
    return await asking


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
