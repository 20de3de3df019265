"""Stores events as a worker does: as rows that `encode_rows` has priced."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from tests.support.fake_records import PARTITION, FakeRecord
from tests.support.price_checks import odd_usage
from tests.support.random_usage import RandomUsages, models_of
from tests.support.stored_events import insert_rows
from usagepipe.consumer.rows.pricing import Pricing
from usagepipe.consumer.rows.rows import encode_rows
from usagepipe.schemas import UsageEvent, encode
from usagepipe.schemas.prices import Pricer
from usagepipe.schemas.prices.units import Units

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BATCH: Final = 20_000


def store_priced(client: "Client", events: Sequence[UsageEvent], pricing: Pricing) -> None:
    """Insert the events with their costs, batch after batch."""
    for first in range(0, len(events), BATCH):
        some = events[first : first + BATCH]
        records = [FakeRecord(first + n, encode(each)) for n, each in enumerate(some)]
        rows = encode_rows(records, PARTITION, "a-topic", 0, pricing)
        assert not rows.rejected
        insert_rows(client, bytes(rows.body))


def random_events(pricer: Pricer, count: int, seed: int) -> list[UsageEvent]:
    """Events over all models of the book, at any time, in any context, a few of them odd."""
    usages = RandomUsages(Units(pricer.book.document.units), seed)
    models = models_of(pricer.book.document)
    events = []
    for number in range(count):
        model = models[number % len(models)]
        usage = usages.usage(model, model.entry.id, usages.counts(sorted(model.priced)))
        fields = asdict(odd_usage(usage, usages.random))
        events.append(UsageEvent.new(user_id="u-1", **fields))
    return events
