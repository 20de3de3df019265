"""Step 1 of a batch: decodes its records, and looks up what is stored already."""

from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass

from usagepipe.consumer.clickhouse.lookups import Lookups
from usagepipe.consumer.clickhouse.stored import NO_EPOCH, StoredEvent
from usagepipe.consumer.parking.decision import Parking
from usagepipe.consumer.protocol.announcement import Announcement
from usagepipe.consumer.protocol.batch import Batch
from usagepipe.consumer.protocol.block import (
    FIRST_EPOCH,
    Block,
    Duplicates,
    find_duplicates,
    make_block,
)
from usagepipe.consumer.protocol.topic_id import TopicIdentity
from usagepipe.consumer.rows.rows import Place, Rows, encode_rows
from usagepipe.consumer.runtime.runtime import Runtime, in_thread
from usagepipe.consumer.worker.price_books import Prices
from usagepipe.consumer.worker.stored_queries import StoredQueries

# Returns when the servers have passed the preflight.
Ready = Callable[[], Awaitable[None]]

NEWS_SECONDS = 5.0  # how old the known start of the server may be; a later batch notices a newer


@dataclass(frozen=True, slots=True)
class Preparer:
    """Makes blocks of batches."""

    queries: StoredQueries
    lookups: Lookups
    dedup_days: int
    parking: Parking
    prices: Prices
    ready: Ready
    runtime: Runtime

    async def prepare(
        self,
        batch: Batch,
        topic: TopicIdentity,
        epoch: int,
        announced: Announcement | None = None,
        ahead: Block | None = None,
    ) -> Block:
        """The block of `batch`. Stores nothing; a crash here costs nothing.

        `announced`: what an earlier owner announced for exactly this range. `ahead`: the block
        before it, which is being inserted and cannot be looked up yet.

        Raises:
            ParkedError: more records are refused than the limits allow.
            StartRefusedError: the servers did not pass the preflight. The health has the reason.
        """
        await self.ready()
        # The same range must get the same costs again, so an announced one names its prices.
        pricing = await (
            self.prices.announced(announced.prices) if announced else self.prices.active()
        )
        rows = await in_thread(
            self.runtime.threads.prepare,
            encode_rows,
            batch.records(),
            batch.partition,
            topic.topic_id,
            epoch,
            pricing,
        )
        self.parking.check(batch, topic.topic_id, rows)
        present: frozenset[Place] = frozenset()
        if epoch > FIRST_EPOCH:
            # What the announced insert may have written is sent again, byte for byte: its token
            # reaches the views, which it may not have reached before.
            without_epoch = NO_EPOCH if announced is None else epoch
            found = await self.queries.places(batch, topic.topic_id, without_epoch)
            # A row of another event at the same offset is of a log that lost its end since.
            present = rows.places & found
        known = announced.skipped.offsets if announced and epoch == FIRST_EPOCH else None
        duplicates = Duplicates(known) if known is not None else Duplicates()
        if known is None and self.dedup_days:
            duplicates = await self._find_duplicates(batch, topic, rows, present, ahead)
        server = await self.queries.server_started(NEWS_SECONDS)
        prices = pricing.name.encode()
        return make_block(batch, topic, epoch, rows, duplicates, present, announced, server, prices)

    async def _find_duplicates(
        self,
        batch: Batch,
        topic: TopicIdentity,
        rows: Rows,
        present: Set[Place],
        ahead: Block | None,
    ) -> Duplicates:
        found = await self.lookups.find(rows.ids)
        partition = (topic.topic_id, batch.partition.partition)
        return await in_thread(
            self.runtime.threads.prepare, _duplicates, rows, found, partition, present, ahead
        )


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
