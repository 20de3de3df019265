"""Steps 3 to 5 of a batch: inserts an announced block, verifies it, and sends its dead letters.

What a crash after each step costs is in `partition_worker`.
"""

import time
from collections import Counter
from dataclasses import dataclass

import structlog

from usagepipe.consumer.clickhouse.refusals import Refusal
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.parking.decision import Parking
from usagepipe.consumer.protocol.block import FIRST_EPOCH, Block, InsertResult, Outcome
from usagepipe.consumer.rows.rows import Rejected
from usagepipe.consumer.runtime.retry import ContentRefusedError
from usagepipe.consumer.runtime.runtime import Runtime, in_thread
from usagepipe.consumer.worker.insert_gate import InsertGate
from usagepipe.consumer.worker.rollup_rebuild import RangeRebuilder
from usagepipe.consumer.worker.stored_queries import StoredQueries

log = structlog.get_logger()

REFUSED = "refused_by_clickhouse"  # the reason of a dead letter
CLOCK_SECONDS = 2  # the start of the server is reported in whole seconds, by two clocks


@dataclass(frozen=True, slots=True)
class Inserter:
    """Inserts blocks; several at once, up to the number of insert threads."""

    writer: Writer
    letters: DeadLetterProducer
    queries: StoredQueries
    rebuilder: RangeRebuilder
    gate: InsertGate
    parking: Parking
    runtime: Runtime

    async def insert(self, block: Block, *, is_retry: bool) -> InsertResult:
        """Insert `block`, which is announced. `is_retry`: it may have been inserted before."""
        # Step 3: insert under the token of the announced range.
        tries = 0
        if block.rows.count:
            try:
                tries = await self._write(block)
            except ContentRefusedError as error:
                return await self._refused(block, error.refusal)
        # Step 4: verify an undecided result. A server that is killed at the wrong moment can
        # remember a token whose rows it lost.
        undecided = is_retry or tries > 1 or block.pending.epoch > FIRST_EPOCH
        if undecided and not await self._is_complete(block):
            return InsertResult(Outcome.INCOMPLETE)
        # The rollups of a range that is written in parts may lack some of it. A server that was
        # killed meanwhile may remember the token in one table and lack its rows in another.
        in_parts = block.pending.epoch > FIRST_EPOCH and (is_retry or block.rows.count > 0)
        if in_parts or (undecided and await self._was_restarted(block)):
            await self.rebuilder.rebuild_rollups(block)
        # Step 5: dead letters.
        await self._send_letters(block, block.rows.rejected)
        self._count_stored(block)
        return InsertResult(Outcome.STORED)

    async def _was_restarted(self, block: Block) -> bool:
        """Whether the server was restarted, or is another one, since `block` was announced."""
        return abs(await self.queries.server_started() - block.pending.server) > CLOCK_SECONDS

    async def _write(self, block: Block) -> int:
        """Insert until ClickHouse answers; the number of tries."""

        async def attempt() -> None:
            async with self.gate.shared():
                started = time.monotonic()
                await in_thread(
                    self.runtime.threads.insert, self.writer.insert, block.rows.body, block.token
                )
                self.runtime.metrics.insert_seconds.observe(time.monotonic() - started)

        _, tries = await self.runtime.retry("clickhouse", str(block.batch), attempt)
        return tries

    async def _refused(self, block: Block, refusal: Refusal) -> InsertResult:
        self.runtime.metrics.refused_batches.inc()
        stored = await self._stored_rows(block)
        log.warning(
            "batch_refused",
            batch=str(block.batch),
            code=refusal.code,
            name=refusal.name,
            column=refusal.column,
            rows=block.rows.count,
            stored=stored,
        )
        if stored != len(block.present):
            return InsertResult(Outcome.INCOMPLETE)  # an earlier insert was accepted: never divide
        if block.batch.count > 1:  # a duplicate that was skipped may be a good one
            return InsertResult(Outcome.REFUSED, block.offset_of(refusal.row))
        (offset,) = block.rows.offsets
        (record,) = (record for record in block.batch.records() if record.offset == offset)
        detail = f"ClickHouse refuses the row: {refusal.name}"
        letter = Rejected(record, REFUSED, detail, refusal.code, refusal.column)
        self.parking.refuse(block.batch, block.topic.topic_id, letter)
        await self._send_letters(block, (*block.rows.rejected, letter))
        if block.pending.epoch > FIRST_EPOCH:
            await self.rebuilder.rebuild_rollups(block)
        return InsertResult(Outcome.LETTER)

    async def _is_complete(self, block: Block) -> bool:
        found = await self._stored_rows(block)
        if found == block.expected and block.as_announced:
            return True
        self.runtime.metrics.incomplete_ranges.inc()
        log.critical(
            "range_incomplete",
            batch=str(block.batch),
            epoch=block.pending.epoch,
            expected=block.expected,
            found=found,
            as_announced=block.as_announced,
        )
        return False

    async def _stored_rows(self, block: Block) -> int:
        return block.landed(await self.queries.places(block.batch, block.topic.topic_id))

    async def _send_letters(self, block: Block, letters: tuple[Rejected, ...]) -> None:
        if not letters:
            return
        batch = block.batch
        await self.runtime.retry(
            "kafka",
            str(batch),
            lambda: self.letters.send(letters, batch.partition, block.topic.topic_id),
        )
        for letter in letters:
            self.runtime.metrics.dead_letters.labels(letter.reason).inc()
        log.warning(
            "dead_letters_sent",
            batch=str(batch),
            count=len(letters),
            first_offset=letters[0].record.offset,
            first_reason=letters[0].reason,
        )

    def _count_stored(self, block: Block) -> None:
        if block.rows.count:
            self.parking.store(block.batch.partition)
        self.runtime.metrics.rows.inc(block.rows.count)
        for source, count in Counter(block.rows.sources).items():
            self.runtime.metrics.costs.labels(source or "none").inc(count)
        self.runtime.metrics.bytes.inc(len(block.rows.body))
        self.runtime.metrics.batches.inc()
        self.runtime.metrics.duplicates.labels("stored").inc(len(block.duplicates.stored))
        self.runtime.metrics.duplicates.labels("batch").inc(len(block.duplicates.batch))
        self.runtime.health.stored()
