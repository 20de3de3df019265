"""How a batch becomes stored rows: the steps, their order, and what a crash after each costs."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import structlog

from usagepipe.consumer.announcement import Announcement
from usagepipe.consumer.backoff import SERVER_AWAY
from usagepipe.consumer.batch import Batch
from usagepipe.consumer.dead_letters import DeadLetters
from usagepipe.consumer.health import Health
from usagepipe.consumer.metrics import WorkerMetrics
from usagepipe.consumer.rows import Rows, encode_rows
from usagepipe.consumer.writer import Writer
from usagepipe.schemas.clickhouse.client import error_code

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

log = structlog.get_logger()

_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\) \(version ")  # as ClickHouse ends its errors


class Storing:
    """Stores batches, each as one insert; several at once, up to the number of threads."""

    def __init__(
        self,
        writer: Writer,
        letters: DeadLetters,
        threads: ThreadPoolExecutor,
        metrics: WorkerMetrics,
        health: Health,
    ) -> None:
        self._writer = writer
        self._letters = letters
        self._threads = threads
        self._metrics = metrics
        self._health = health

    async def store(
        self, batch: Batch, pending: Announcement, *, again: bool, cluster: str
    ) -> None:
        """Return when every record of `batch` is a row or a dead letter. Tries until it is.

        `pending` is what was announced for it; `again` tells that it may have been stored before.
        """
        # 1. Encode. Pure: the same records give the same bytes.
        rows = await self._in_thread(
            encode_rows, batch.records, batch.partition, pending.topic_id, pending.epoch
        )
        # 2. Dead letters. A crash from here on sends them again, with the same coordinates.
        if rows.rejected:
            await self._persist(
                "kafka", batch, lambda: self._send_letters(rows, batch, pending.topic_id)
            )
        # 3. Insert, under the token of the announced range. A crash after it makes the next owner
        #    repeat it with the same bytes and token, which changes nothing.
        if rows.count:
            token = pending.token(cluster, batch.partition.partition)
            tries = await self._persist("clickhouse", batch, lambda: self._insert(rows, token))
            # 4. Verify what was undecided: a server killed at the wrong moment can remember a
            #    token whose rows it lost.
            if again or tries > 1:
                await self._persist("clickhouse", batch, lambda: self._verify(rows, batch, pending))
        self._metrics.batches.inc()
        self._health.stored()

    async def _verify(self, rows: Rows, batch: Batch, pending: Announcement) -> None:
        found = await self._in_thread(
            self._writer.count,
            pending.topic_id,
            batch.partition.partition,
            pending.first,
            pending.last,
        )
        if found != rows.count:
            self._metrics.incomplete_ranges.inc()
            log.critical(
                "range_incomplete",
                partition=str(batch.partition),
                first=pending.first,
                last=pending.last,
                expected=rows.count,
                found=found,
            )

    async def _send_letters(self, rows: Rows, batch: Batch, topic_id: str) -> None:
        await self._letters.send(rows.rejected, batch.partition, topic_id)
        for letter in rows.rejected:
            self._metrics.dead_letters.labels(letter.reason).inc()
        log.warning(
            "dead_letters_sent",
            partition=str(batch.partition),
            count=len(rows.rejected),
            first_offset=rows.rejected[0].record.offset,
            first_reason=rows.rejected[0].reason,
        )

    async def _insert(self, rows: Rows, token: str) -> None:
        started = time.monotonic()
        await self._in_thread(self._writer.insert, rows.body, token)
        self._metrics.insert_seconds.observe(time.monotonic() - started)
        self._metrics.rows.inc(rows.count)
        self._metrics.bytes.inc(len(rows.body))

    async def _persist(
        self, server: str, batch: Batch, attempt: Callable[[], Awaitable[None]]
    ) -> int:
        """Repeat `attempt` until it succeeds; the number of tries.

        The lane's back-pressure bounds what waits here.
        """
        where = f"{batch.partition}@{batch.first}-{batch.last}"
        for tries, delay in enumerate(SERVER_AWAY.delays(), start=1):
            try:
                await attempt()
            except (
                Exception
            ) as error:  # any failure of a server or client: nothing is lost by trying
                self._metrics.store_failures.labels(server).inc()
                self._health.failed(server, error)
                log.warning(
                    "store_failed", server=server, batch=where, tries=tries, error=brief(error)
                )
                await asyncio.sleep(delay)
            else:
                self._health.succeeded(server)
                return tries
        raise AssertionError("delays never end")

    async def _in_thread(
        self,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **_: Arguments.kwargs,
    ) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(function, *arguments))


def brief(error: Exception) -> str:
    """One line about an error, short enough for a log.

    Of ClickHouse's errors only code and name: their text quotes the rows that it refuses, and what
    users wrote must not be in a log.
    """
    text = str(error)
    code = error_code(error)
    if code is not None:
        name = _NAME.search(text)
        return f"{type(error).__name__}: code {code}" + (f" {name[1]}" if name else "")
    return f"{type(error).__name__}: {text}".split("\n", 1)[0][:300]
