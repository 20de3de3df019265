"""How a batch becomes stored rows: prepared, inserted, verified; each part for one block.

The order in which a partition worker does these, with the announcement in between, is in
`partition_worker`. Each part tries its server until it answers.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

import structlog

from usagepipe.consumer.clickhouse.lookups import Lookups
from usagepipe.consumer.clickhouse.refusals import Refusal
from usagepipe.consumer.clickhouse.stored import NO_EPOCH, StoredEvent, StoredRows
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.decision import Parking
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.protocol.block import (
    FIRST_EPOCH,
    Block,
    Duplicates,
    Landing,
    Outcome,
    find_duplicates,
    make_block,
)
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.rollups.rebuild import RollupRebuilder
from usagepipe.consumer.rows.rows import Place, Rejected, Rows, encode_rows
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import ContentRefusedError, Retrier
from usagepipe.consumer.runtime.threads import Threads, in_thread
from usagepipe.consumer.worker.insert_gate import InsertGate
from usagepipe.consumer.worker.rollup_rebuild import Acknowledged, RangeRebuilder
from usagepipe.schemas.errors import StartRefusedError
from usagepipe.schemas.settings import WorkerSettings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Returns when the servers have passed the preflight.
Ready = Callable[[], Awaitable[None]]

log = structlog.get_logger()

REFUSED = "refused_by_clickhouse"  # the reason of a dead letter
NEWS_SECONDS = 5.0  # a start of the server that is older is noticed at the latest by the next
CLOCK_SECONDS = 2  # its start is told in whole seconds, of two clocks


@dataclass(frozen=True, slots=True)
class Servers:
    """What a block is written to and looked up in."""

    writer: Writer
    stored: StoredRows
    rollups: RollupRebuilder
    letters: DeadLetterProducer


class Storing:
    """Stores blocks; several at once, up to the number of threads."""

    def __init__(
        self,
        servers: Servers,
        threads: Threads,
        settings: WorkerSettings,
        parking: Parking,
        acknowledged: Acknowledged,
        ready: Ready,
        retry: Retrier,
        metrics: WorkerMetrics,
        health: Health,
    ) -> None:
        self._servers = servers
        self._threads = threads
        self._parking = parking
        self._dedup_days = settings.dedup_days
        self._slots = settings.inserts
        self._ready = ready
        self._metrics = metrics
        self._health = health
        self._retry = retry
        self._gate = InsertGate()
        self._range_rebuilder = RangeRebuilder(
            servers.rollups, threads, self._retry, self._gate, acknowledged, metrics
        )
        self._lookups = Lookups(self._look_up)
        self._started = 0  # the server, in Unix seconds
        self._started_at = -math.inf  # when it was asked

    @property
    def busy(self) -> bool:
        """Whether as many inserts run as may run at once."""
        return self._gate.running >= self._slots

    async def last_offset(self, partition: TopicPartition, topic_id: str, at_least: int) -> int:
        """The greatest offset from `at_least` on that is stored; `at_least` - 1 for none."""
        found, _ = await self._ask(
            str(partition),
            self._servers.stored.last_offset,
            topic_id,
            partition.partition,
            at_least,
        )
        return at_least - 1 if found is None else found

    async def prepare(
        self,
        batch: Batch,
        topic: TopicIdentity,
        epoch: int,
        announced: Announcement | None = None,
        ahead: Block | None = None,
    ) -> Block:
        """The block of `batch`. Stores nothing; a crash here costs nothing.

        `announced`: what an owner before us announced of exactly this range. `ahead`: the block
        before it, which is being inserted and cannot be looked up yet.

        Raises:
            ParkedError: more records are refused than the limits allow.
            StartRefusedError: the servers do not keep what is promised.
        """
        with self._ending():
            await self._ready()
        rows = await in_thread(
            self._threads.prepare,
            encode_rows,
            batch.records(),
            batch.partition,
            topic.topic_id,
            epoch,
        )
        self._parking.check(batch, topic.topic_id, rows)
        present: frozenset[Place] = frozenset()
        if epoch > FIRST_EPOCH:
            found, _ = await self._ask(
                str(batch),
                self._servers.stored.places,
                topic.topic_id,
                batch.partition.partition,
                batch.first,
                batch.last,
                # What the announced insert may have written is sent again, byte for byte: its
                # token reaches the views, which it may not have reached before.
                NO_EPOCH if announced is None else epoch,
            )
            # A row of another event at the same offset is of a log that lost its end since.
            present = rows.places & found
        known = announced.skipped.offsets if announced and epoch == FIRST_EPOCH else None
        duplicates = Duplicates(known) if known is not None else Duplicates()
        if known is None and self._dedup_days:
            duplicates = await self._find_duplicates(batch, topic, rows, present, ahead)
        server = await self._server_started(NEWS_SECONDS)
        return make_block(batch, topic, epoch, rows, duplicates, present, announced, server)

    async def insert(self, block: Block, *, again: bool) -> Landing:
        """Insert `block`, which is announced. `again`: it may have been inserted before."""
        # 1. Insert under the token of the announced range. A crash in it or after it makes the
        #    next owner repeat it with the same bytes and token, which changes nothing.
        tries = 0
        if block.rows.count:
            try:
                tries = await self._write(block)
            except ContentRefusedError as error:
                return await self._refused(block, error.refusal)
        # 2. Verify what was undecided: a server that is killed at the wrong moment can remember a
        #    token whose rows it lost. A crash after it: as 1.
        undecided = again or tries > 1 or block.pending.epoch > FIRST_EPOCH
        if undecided and not await self._is_complete(block):
            return Landing(Outcome.INCOMPLETE)
        # 3. A range that is written in parts leaves rollups that may lack some, and a server that
        #    was killed meanwhile may remember the token in one table and lack its rows in another:
        #    they are corrected from raw. A crash before its end: the next owner does the same.
        in_parts = block.pending.epoch > FIRST_EPOCH and (again or block.rows.count > 0)
        if in_parts or (undecided and await self._was_restarted(block)):
            await self._range_rebuilder.rebuild_rollups(block)
        # 4. Dead letters. A crash after it sends them again, with the same coordinates.
        await self._send_letters(block, block.rows.rejected)
        self._count_stored(block)
        return Landing(Outcome.STORED)

    async def _was_restarted(self, block: Block) -> bool:
        """Whether the server is another than when `block` was announced, or was started anew."""
        return abs(await self._server_started() - block.pending.server) > CLOCK_SECONDS

    async def _server_started(self, at_most_ago: float = 0.0) -> int:
        """When ClickHouse was started (Unix seconds), as it was told so many seconds ago."""
        if time.monotonic() - self._started_at >= at_most_ago:
            self._started, _ = await self._ask("start", self._servers.stored.server_started)
            self._started_at = time.monotonic()
        return self._started

    async def _write(self, block: Block) -> int:
        """Insert until ClickHouse answers; the number of tries."""

        async def attempt() -> None:
            async with self._gate.shared():
                started = time.monotonic()
                insert = self._servers.writer.insert
                await in_thread(self._threads.insert, insert, block.rows.body, block.token)
                self._metrics.insert_seconds.observe(time.monotonic() - started)

        _, tries = await self._retry("clickhouse", str(block.batch), attempt)
        return tries

    async def _look_up(self, ids: Sequence[str]) -> list[StoredEvent]:
        found, _ = await self._ask(
            f"look-up of {len(ids)} ids", self._servers.stored.events, ids, self._dedup_days
        )
        return found

    async def _find_duplicates(
        self,
        batch: Batch,
        topic: TopicIdentity,
        rows: Rows,
        present: Set[Place],
        ahead: Block | None,
    ) -> Duplicates:
        found = await self._lookups.find(rows.ids)
        partition = (topic.topic_id, batch.partition.partition)
        return await in_thread(
            self._threads.prepare, _duplicates, rows, found, partition, present, ahead
        )

    async def _refused(self, block: Block, refusal: Refusal) -> Landing:
        self._metrics.refused_batches.inc()
        landed = await self._landed(block)
        log.warning(
            "batch_refused",
            batch=str(block.batch),
            code=refusal.code,
            name=refusal.name,
            column=refusal.column,
            rows=block.rows.count,
            landed=landed,
        )
        if landed != len(block.present):
            return Landing(Outcome.INCOMPLETE)  # it was taken before: never cut it as if not
        if block.batch.count > 1:  # a copy that was left out may be a good one
            return Landing(Outcome.REFUSED, block.offset_of(refusal.row))
        (offset,) = block.rows.offsets
        (record,) = (record for record in block.batch.records() if record.offset == offset)
        detail = f"ClickHouse refuses the row: {refusal.name}"
        letter = Rejected(record, REFUSED, detail, refusal.code, refusal.column)
        self._parking.refuse(block.batch, block.topic.topic_id, letter)
        await self._send_letters(block, (*block.rows.rejected, letter))
        if block.pending.epoch > FIRST_EPOCH:
            await self._range_rebuilder.rebuild_rollups(block)
        return Landing(Outcome.LETTER)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """What is raised in here ends the worker."""
        try:
            yield
        except StartRefusedError as error:
            self._health.refuse(str(error))
            raise

    async def _is_complete(self, block: Block) -> bool:
        found = await self._landed(block)
        if found == block.expected and block.as_announced:
            return True
        self._metrics.incomplete_ranges.inc()
        log.critical(
            "range_incomplete",
            batch=str(block.batch),
            epoch=block.pending.epoch,
            expected=block.expected,
            found=found,
            as_announced=block.as_announced,
        )
        return False

    async def _landed(self, block: Block) -> int:
        batch = block.batch
        found, _ = await self._ask(
            str(batch),
            self._servers.stored.places,
            block.topic.topic_id,
            batch.partition.partition,
            batch.first,
            batch.last,
        )
        return block.landed(found)

    async def _send_letters(self, block: Block, letters: tuple[Rejected, ...]) -> None:
        if not letters:
            return
        batch = block.batch
        await self._retry(
            "kafka",
            str(batch),
            lambda: self._servers.letters.send(letters, batch.partition, block.topic.topic_id),
        )
        for letter in letters:
            self._metrics.dead_letters.labels(letter.reason).inc()
        log.warning(
            "dead_letters_sent",
            batch=str(batch),
            count=len(letters),
            first_offset=letters[0].record.offset,
            first_reason=letters[0].reason,
        )

    def _count_stored(self, block: Block) -> None:
        if block.rows.count:
            self._parking.store(block.batch.partition)
        self._metrics.rows.inc(block.rows.count)
        self._metrics.bytes.inc(len(block.rows.body))
        self._metrics.batches.inc()
        self._metrics.duplicates.labels("stored").inc(len(block.duplicates.stored))
        self._metrics.duplicates.labels("batch").inc(len(block.duplicates.batch))
        self._health.stored()

    async def _ask(
        self,
        place: str,
        function: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **_: Arguments.kwargs,
    ) -> tuple[Result, int]:
        """Call ClickHouse in a thread until it answers."""
        attempt: Callable[[], Awaitable[Result]] = partial(
            in_thread, self._threads.ask, function, *arguments
        )
        return await self._retry("clickhouse", place, attempt)


def _duplicates(
    rows: Rows,
    found: Sequence[StoredEvent],
    partition: tuple[str, int],
    present: Set[Place],
    ahead: Block | None,
) -> Duplicates:
    # The batch's own rows are no duplicates: they are what it may have stored before.
    own = rows.places if found else frozenset()
    stored = {
        each.event_id
        for each in found
        if (each.topic_id, each.partition) != partition
        or Place(each.offset, each.event_id) not in own
    }
    if ahead is not None:
        stored.update(ahead.id_set.intersection(rows.ids))
    return find_duplicates(rows, stored, {place.offset for place in present})
