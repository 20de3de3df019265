"""Where partition workers prepare and insert their batches: the seam to ClickHouse.

The order of the steps, with the announcement in between, is in `partition_worker`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from usagepipe.consumer.clickhouse.lookups import Lookups
from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.decision import Parking
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.protocol.block import Block, InsertResult
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.rollups.tables import RollupTables
from usagepipe.consumer.runtime.runtime import Runtime
from usagepipe.consumer.worker.insert_gate import InsertGate
from usagepipe.consumer.worker.insertion import Inserter
from usagepipe.consumer.worker.preparation import Preparer, Ready
from usagepipe.consumer.worker.price_books import Prices
from usagepipe.consumer.worker.rollup_rebuild import Acknowledged, RangeRebuilder
from usagepipe.consumer.worker.stored_queries import StoredQueries
from usagepipe.schemas.settings import WorkerSettings


class BatchSink(Protocol):
    """Prepares and inserts batches. Each call retries its server until it answers."""

    @property
    def busy(self) -> bool: ...
    async def last_offset(self, partition: TopicPartition, topic_id: str, at_least: int) -> int: ...
    async def prepare(
        self,
        batch: Batch,
        topic: TopicIdentity,
        epoch: int,
        announced: Announcement | None = None,
        ahead: Block | None = None,
    ) -> Block: ...
    async def insert(self, block: Block, *, is_retry: bool) -> InsertResult: ...


@dataclass(frozen=True, slots=True)
class Servers:
    """What a block is written to and looked up in."""

    writer: Writer
    stored: StoredRows
    rollups: RollupTables
    letters: DeadLetterProducer


class ClickHouseSink:
    """Stores blocks; several at once, up to the number of insert threads."""

    def __init__(
        self,
        servers: Servers,
        settings: WorkerSettings,
        parking: Parking,
        prices: Prices,
        acknowledged: Acknowledged,
        ready: Ready,
        runtime: Runtime,
    ) -> None:
        self._gate = InsertGate()
        self._most_inserts = settings.inserts
        queries = StoredQueries(servers.stored, runtime)
        rebuilder = RangeRebuilder(servers.rollups, runtime, self._gate, acknowledged)
        self.last_offset = queries.last_offset
        days = settings.dedup_days
        lookups = Lookups(partial(queries.events, days=days))
        self.prepare = Preparer(queries, lookups, days, parking, prices, ready, runtime).prepare
        self.insert = Inserter(
            servers.writer, servers.letters, queries, rebuilder, self._gate, parking, runtime
        ).insert

    @property
    def busy(self) -> bool:
        """Whether as many inserts run as may run at once."""
        return self._gate.running >= self._most_inserts
